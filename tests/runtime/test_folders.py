"""The place of the cache, with and without a home directory."""

import os
import pwd

import pytest

from jaxft.errors import UserError
from jaxft.runtime import folders


def nobody(number):
    raise KeyError(number)


def test_a_user_without_a_home_is_asked_for_a_cache(monkeypatch, tmp_path):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(UserError, match="Set XDG_CACHE_HOME"):
        folders.cache_directory("")
    assert folders.cache_directory(str(tmp_path)) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.default_directory() == tmp_path / "jaxft"


def test_the_cache_is_in_the_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", os.sep + "home")
    assert str(folders.default_directory()) == "/home/.cache/jaxft"
