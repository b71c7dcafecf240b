"""The end of the command line's process within a time after a signal, whatever it is doing.

A signal's handler runs between two steps of Python. While XLA compiles, in C++, there is none for
minutes, and a scheduler kills what it told to stop after some 30 seconds. So a thread watches, too.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SECONDS = 25.0  # that a compilation gets after the first signal
AT_ONCE = 3.0  # seconds that records get after the second one
PAUSE = 0.2
INTERRUPTED = 75
WHY = "jaxft: told to stop {:.0f} s ago, and XLA is still compiling: "
AGAIN = "jaxft: told to stop twice: "
RESUMES = "ended at once; the same command resumes from the last checkpoint"

_ours: list[bool] = []  # not empty where the process is the command line's, which may be ended


def own_process() -> None:
    """Say that nobody else lives in this process, as in a notebook's."""
    _ours.append(True)


@contextmanager
def watching(compiling: Callable[[], bool]) -> Iterator[None]:
    """End the process after a second signal, or where a compilation outlasts the first, meanwhile.

    What has been written by then stays: checkpoints, parts of features, and the row of this start,
    which says "interrupted" from its begin on. Does nothing in a process of others or a thread.

    Args:
      compiling: tells whether XLA compiles.
    """
    if not _ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, compiling), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, compiling: Callable[[], bool]) -> None:
    """Read the numbers of signals as they come, until the pipe is closed."""
    times: list[float] = []
    while True:
        if select.select([reader], [], [], PAUSE)[0]:
            numbers = os.read(reader, 64)
            if not numbers:
                return
            asked = [n for n in numbers if n in (signal.SIGINT, signal.SIGTERM)]
            times += [time.monotonic()] * len(asked)
        now = time.monotonic()
        if len(times) > 1 and now - times[1] > AT_ONCE:
            _end(AGAIN)
        if times and now - times[0] > SECONDS and compiling():
            _end(WHY.format(now - times[0]))


def _end(why: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"\n{why}{RESUMES}\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
