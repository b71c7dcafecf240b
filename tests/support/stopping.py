"""A run that is told to stop at a step of its own."""

from contextlib import contextmanager, nullcontext

import pytest

from jaxft import run
from jaxft.errors import Interrupted
from jaxft.runtime.ballot import Stop
from jaxft.training import step_losses


@contextmanager
def told_to_stop(monkeypatch, at, when=lambda: True):
    """A block in which a run is told to stop at that step, once `when` holds, and stops."""
    stop, fetched = Stop(), step_losses.demand_finite

    def stopping(number, loss):
        fetched(number, loss)
        if number == at and when():
            stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(step_losses, "demand_finite", stopping)
        patch.setattr(run, "told_to_stop", lambda: nullcontext(stop))
        with pytest.raises(Interrupted):
            yield
