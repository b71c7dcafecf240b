"""Which code figures come from."""

import re
import subprocess
import sys

import pytest

import jaxft
from jaxft import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package's file in a git repository that does not track it yet; and git in there."""
    file = tmp_path / "package" / "__init__.py"
    file.parent.mkdir()
    file.write_text("")
    monkeypatch.setattr(jaxft, "__file__", str(file))
    identity = ["-c", "user.name=A", "-c", "user.email=a@b"]

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=x")
    return file, git


def test_the_revision_of_a_checkout(package):
    file, git = package
    git("add", ".")
    git("commit", "--quiet", "--message=y")
    git("tag", "--annotate", "--message=z", "v1")
    assert provenance.revision() == git("rev-parse", "HEAD")
    file.write_text("changed = 1\n")
    assert provenance.revision() == git("rev-parse", "HEAD") + "-dirty"


def test_installed_inside_another_checkout_it_is_the_version(package):
    assert provenance.revision() == jaxft.__version__


def test_without_git_it_is_the_version(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.revision() == jaxft.__version__


def test_versions():
    found = provenance.versions()
    assert set(found) == {"jaxft", "jax", "jaxlib", "flax", "optax", "python"}
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())
    assert sys.version.startswith(found["python"])
