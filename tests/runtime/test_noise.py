"""Noise of the libraries is dropped; what anyone should see is not."""

import asyncio
import sys

import pytest

from jaxft.runtime import noise


@pytest.fixture
def shown(monkeypatch):
    """The errors that a person would see."""
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(error))
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
        return type(error), error, error.__traceback__
    raise AssertionError


def test_a_late_answer_to_a_closed_loop_is_dropped(shown):
    kind, error, trace = raised(closed_loop().call_soon_threadsafe, print)
    sys.excepthook(kind, error, trace.tb_next)  # as C++ raises it: nothing of Python above
    assert shown == []


def test_a_program_of_python_s_own_error_is_shown(shown):
    for call in (lambda: closed_loop().call_soon_threadsafe(print), closed_loop().run_forever):
        kind, error, trace = raised(call)
        sys.excepthook(kind, error, trace)
        assert shown[-1] is error
    assert len(shown) == 2
