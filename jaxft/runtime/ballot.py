"""Votes of all processes on leaving a loop that they run in step."""

import threading
import time

import numpy as np

from jaxft.runtime import hosts
from jaxft.runtime.exchange import gather_array


class Stop(threading.Event):
    """Event of a run that is to stop, known to all its processes.

    `ask` may be called at any time, in any process (a signal's handler does); with several
    processes the event is set at the next `Ballot` in all of them at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def ask(self) -> None:
        """Ask the run to stop."""
        self.asked = True
        if hosts.count() == 1:
            self.set()


class Ballot:
    """Votes on leaving a loop that all processes run in step, with one answer in all of them.

    They vote about once a second, at a call whose number the first process has settled before:
    a vote costs a small collective.

    Args:
      stop: set, and the loop left, once any process was asked to stop.
    """

    SECONDS = 1.0
    MOST_CALLS = 1000

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._calls_left, self._calls, self._since = 0, 0, time.perf_counter()

    def __call__(self, wish: bool = False) -> bool:
        """Tell whether any process wishes to leave the loop, or was asked to stop.

        Between two votes the answer is no.
        """
        if hosts.count() == 1:
            return wish or self._stop.is_set()
        self._calls += 1
        if self._calls_left > 0:
            self._calls_left -= 1
            return False
        seconds = max(time.perf_counter() - self._since, 1e-6)
        pause = int(np.clip(self._calls * self.SECONDS / seconds, 1, self.MOST_CALLS)) - 1
        votes = gather_array(np.asarray([self._stop.asked, wish, pause], np.int32))
        self._calls_left, self._calls, self._since = int(votes[0, 2]), 0, time.perf_counter()
        if votes[:, 0].any():
            self._stop.set()
        return bool(votes[:, :2].any())
