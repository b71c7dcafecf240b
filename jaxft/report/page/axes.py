"""Scales of a chart's axes, in SVG units, and their ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from jaxft.report.page.text import short

MOST_TICKS = 6


class Tick(NamedTuple):
    """A tick: its place on the axis and its words."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A map from values between `low` and `high` to places between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return a value's place; a value beyond the ends has one beyond them, too."""
        low, high = self._on_axis(self.low), self._on_axis(self.high)
        part = (self._on_axis(value) - low) / ((high - low) or 1.0)
        return round(self.start + part * (self.end - self.start), 2)

    def ticks(self) -> list[Tick]:
        """Return ticks at round values, at most MOST_TICKS or so."""
        values = _log_values(self.low, self.high) if self.log else _values(self.low, self.high)
        return [Tick(self(value), short(value)) for value in values]

    def _on_axis(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def scale(
    values: Iterable[float], start: float, end: float, log: bool = False, room: float = 0.05
) -> Scale:
    """Return the scale that holds finite values, with room at both ends.

    Args:
      values: a logarithmic scale leaves those out that are not positive.
      room: a share of the axis.
    """
    kept = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(kept, default=0.1), max(kept, default=1.0)
    if log:
        factor = (high / low) ** room if high > low else 2.0
        return Scale(low / factor, high * factor, start, end, log)
    margin = (high - low) * room or abs(high) * 0.1 or 1.0
    return Scale(low - margin, high + margin, start, end)


def _values(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two ends."""
    coarse = (high - low) / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(coarse))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= coarse)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_values(low: float, high: float) -> list[float]:
    """Powers of ten between two ends; within three decades some multiples of them, too."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = math.log10(high / low)
    apart = math.ceil(len(decades) / MOST_TICKS)
    factors = (1.0, 2.0, 5.0) if wide < 1.7 else (1.0, 3.0) if wide < 3 else (1.0,)
    values = [factor * 10.0**power for power in decades[::apart] for factor in factors]
    return [value for value in values if low <= value <= high]
