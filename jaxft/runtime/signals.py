"""SIGINT and SIGTERM as a wish to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxft.runtime.ballot import Stop


@contextmanager
def told_to_stop() -> Iterator[Stop]:
    """Yield an event that SIGINT and SIGTERM set meanwhile (in the main thread only)."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _: Any) -> None:
        if stop.asked:  # twice: at once
            raise KeyboardInterrupt
        stop.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
