"""Seconds that XLA takes to compile, and a line where a compilation takes long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxft.runtime import grace
from jaxft.runtime.clock import clock
from jaxft.runtime.console import Console

# JAX's events: a program is ready for XLA, and XLA, or the cache of programs, is done with it.
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"
LONG = 3.0  # seconds of a compilation after which it is told of
# Function that is compiled -> what a person calls it.
PROGRAMS = {
    "one_step": "the step",
    "local_epoch": "the epochs",
    "features": "the body's features",
    "views": "the features of augmented views",
    "groups": "the features by layer group",
    "init": "the first weights",
    "moments": "BatchNorm's statistics",
}


@dataclass
class Timer:
    """Seconds that XLA has compiled since this object began to listen.

    Attributes:
      console: gets a line while a compilation takes long, and one at its end.
      phase: name of the phase that the programs belong to, "" before the first.
      compile: the seconds.
    """

    console: Console
    phase: str = ""
    compile: float = 0.0
    _waiting: dict[int, threading.Timer] = field(default_factory=dict)  # by thread
    _told: set[int] = field(default_factory=set)

    def listen(self, event: str, duration_secs: float, **about: Any) -> None:
        """Take an event of JAX's."""
        thread = threading.get_ident()
        if event == LOWERED:
            name = str(about.get("fun_name", ""))
            waiting = threading.Timer(LONG, self._tell, (thread, in_words(name, self.phase)))
            waiting.daemon = True
            self._waiting[thread] = waiting
            waiting.start()
        elif event == COMPILED:
            self.compile += duration_secs
            if thread in self._waiting:
                self._waiting.pop(thread).cancel()
            if thread in self._told:
                self._told.discard(thread)
                self.console.say(f"compiled in {clock(duration_secs)}")

    def _tell(self, thread: int, what: str) -> None:
        self._told.add(thread)
        self.console.say(f"compiling {what} ...")

    def compiling(self) -> bool:
        """Tell whether XLA compiles now."""
        return bool(self._waiting)

    def close(self) -> None:
        """Tell of nothing that has not ended."""
        for waiting in self._waiting.values():
            waiting.cancel()


def in_words(function: str, phase: str) -> str:
    """Call a program, such as `jit(one_step)`, and its phase as a person does."""
    name = function.removeprefix("jit(").removesuffix(")")
    return PROGRAMS.get(name, "a program") + (f" of {phase}" if phase else "")


@contextmanager
def timing(console: Console) -> Iterator[Timer]:
    """Count the seconds of compilation while this lasts, and tell of what takes long.

    A process that is told to stop does not wait for a compilation to end (grace.py).
    """
    timer = Timer(console)
    jax.monitoring.register_event_duration_secs_listener(timer.listen)
    try:
        with grace.watching(timer.compiling):
            yield timer
    finally:
        jax.monitoring.unregister_event_duration_listener(timer.listen)
        timer.close()
