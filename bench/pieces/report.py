"""A child's lines: each is JSON data, written as soon as it is known."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pieces.clock import Timing


class Report:
    """Writes lines to the parent, and counts the errors among them.

    What `about` was given is in every line from then on.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._about: dict[str, Any] = {}
        self.errors = 0

    def about(self, **facts: Any) -> None:
        """Adds facts to all lines that follow: device, versions."""
        self._about |= facts

    def line(self, what: str, **fields: Any) -> None:
        """Writes one line; what is None, infinite or no number is left out."""
        found = {key: _rounded(value) for key, value in {**self._about, **fields}.items()}
        self._write(json.dumps({"what": what, **{k: v for k, v in found.items() if v is not None}}))

    def figure(
        self,
        what: str,
        timing: Timing,
        *,
        flop: float | None = None,
        moved: float | None = None,
        images: int | None = None,
        **fields: Any,
    ) -> None:
        """Writes a line with times, and the rates that follow from them.

        Args:
          flop: operations of a call, counted as written.
          moved: bytes of a call, counted as written.
          images: that a call takes.
        """
        seconds = timing.median / 1e3
        self.line(
            what,
            ms=timing.as_json(),
            gflop=flop and flop / 1e9,
            gb=moved and moved / 1e9,
            tflop_per_second=flop and flop / seconds / 1e12,
            gb_per_second=moved and moved / seconds / 1e9,
            images_per_second=images and images / seconds,
            **fields,
        )

    @contextmanager
    def guard(self, what: str, **fields: Any) -> Iterator[None]:
        """Turns an exception into a line with `error`, and goes on."""
        try:
            yield
        except Exception as error:  # whatever a compiler, a driver or a library may raise
            self.errors += 1
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"{what} {fields}: {text}", file=sys.stderr)
            self.line(what, **fields, error=text[:500])


def _rounded(value: Any) -> Any:
    """Six digits of a number; None for one that JSON cannot hold."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inside) for inside in value]
    return value


@contextmanager
def seconds_of(times: list[float]) -> Iterator[None]:
    """Appends how long the block took."""
    started = time.perf_counter()
    yield
    times.append(time.perf_counter() - started)
