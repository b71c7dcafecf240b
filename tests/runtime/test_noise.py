"""Noise of the libraries is dropped; what anyone should see is not."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from jaxft.runtime import noise


@pytest.fixture
def shown(monkeypatch):
    """The errors that a person would see."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_value))
    noise.hush()
    noise.hush()
    return seen


def closed_loop():
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def raised(call, *arguments):
    try:
        call(*arguments)
    except RuntimeError as error:
        return error
    raise AssertionError


def tell(error, trace):
    sys.unraisablehook(SimpleNamespace(exc_value=error, exc_traceback=trace))


def test_a_late_answer_to_a_closed_loop_is_dropped(shown):
    error = raised(closed_loop().call_soon_threadsafe, print)
    tell(error, error.__traceback__.tb_next)  # as C++ raises it: nothing of Python above
    assert shown == []


def test_a_program_of_python_s_own_error_is_shown(shown):
    for call in (lambda: closed_loop().call_soon_threadsafe(print), closed_loop().run_forever):
        error = raised(call)
        tell(error, error.__traceback__)
        assert shown[-1] is error
    assert len(shown) == 2
