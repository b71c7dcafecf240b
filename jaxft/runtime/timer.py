"""Seconds that XLA takes to compile."""

from dataclasses import dataclass
from typing import Any

import jax


@dataclass
class Timer:
    """Seconds that XLA has compiled since this object was made."""

    compile: float = 0.0

    def __post_init__(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.compile += duration_secs
