"""Times of calls that a device executes behind the caller's back: many, then one wait."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

from pieces.setting import Setting

Call = Callable[[], Any]


class Timing(NamedTuple):
    """Milliseconds a call of every round, and how many calls a round had."""

    ms: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.ms)

    def as_json(self) -> dict[str, float]:
        """Median and quartiles, and how many rounds of how many calls."""
        several = len(self.ms) > 1
        how: Any = {"n": 4, "method": "inclusive"}
        low, middle, high = statistics.quantiles(self.ms, **how) if several else 3 * self.ms
        figures = {"median": middle, "quartile1": low, "quartile3": high}
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        return {**rounded, "n": len(self.ms), "calls": self.calls}


def time_calls(
    setting: Setting, calls: Sequence[Call], wait: Callable[[Any], Any], rounds: int = 0
) -> Timing:
    """Times calls of one program, in rotation over its inputs.

    Args:
      calls: the program on each of its inputs; a call may return before it is done.
      wait: waits for what a call returned, and so for all calls before it.
      rounds: 0 = as many as the setting has.
    """
    name = "it"
    return alternate(setting, {name: calls}, wait, rounds)[name]


def alternate(
    setting: Setting,
    programs: Mapping[str, Sequence[Call]],
    wait: Callable[[Any], Any],
    rounds: int = 0,
) -> dict[str, Timing]:
    """Times several programs in turn, A B A B, each as `time_calls` does."""
    feeds, counts = {}, {}
    for name, calls in programs.items():
        feeds[name] = cycle(calls)
        _round(feeds[name], setting.warm_up, wait)
        once = max(_round(feeds[name], setting.warm_up, wait), 1e-4)
        counts[name] = max(1, min(200, math.ceil(setting.least_ms / once)))
    ms: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds or setting.rounds):
        for name, feed in feeds.items():
            ms[name].append(_round(feed, counts[name], wait))
    return {name: Timing(tuple(found), counts[name]) for name, found in ms.items()}


def _round(feed: Any, count: int, wait: Callable[[Any], Any]) -> float:
    """Milliseconds a call of so many calls. Results are let go of while others are under way."""
    started = time.perf_counter()
    last = None
    for call in islice(feed, count):
        last = call()
    wait(last)
    return 1e3 * (time.perf_counter() - started) / count
