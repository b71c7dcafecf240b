"""SIGINT and SIGTERM as a wish to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jaxft.errors import Interrupted
from jaxft.runtime.ballot import Stop

SECONDS = 1.0  # between two looks, once the process was told to stop
TRACERS = ("jax._src.interpreters.partial_eval", "jax._src.interpreters.mlir")
CALLBACKS = ("weakref", "_weakrefset")  # modules whose functions Python calls as objects die
FINALIZERS = ("__del__", "_xla_gc_callback")


@contextmanager
def told_to_stop() -> Iterator[Stop]:
    """Yield an event that SIGINT and SIGTERM set meanwhile (in the main thread only).

    While JAX traces a function, which may take a minute, nobody looks at the event: there the
    signal itself, or an alarm later, raises Interrupted, in a process that is alone.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:  # twice: at once
            raise KeyboardInterrupt
        stop.ask()
        signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
        interrupt(number, frame)

    def interrupt(_: int, frame: FrameType | None) -> None:
        if stop.is_set() and traces(frame):
            raise Interrupted

    handlers = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGALRM: interrupt}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.siginterrupt(signal.SIGALRM, False)  # what waits for a disk or a network goes on
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def traces(frame: FrameType | None) -> bool:
    """Tell whether JAX traces a function, or lowers one, around a frame.

    Not while an object dies: what is raised there Python prints and forgets.
    """
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in CALLBACKS or frame.f_code.co_name in FINALIZERS:
            return False
        if name in TRACERS:
            return True
        frame = frame.f_back
    return False
