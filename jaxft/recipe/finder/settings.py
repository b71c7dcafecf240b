"""Settings of the learning-rate range test."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

AUTO = "auto"
FEWEST_STEPS = 20
SWEEPS = {"sgd": (1e-7, 10.0), "adamw": (1e-4, 0.1)}  # lowest and highest rate, by optimizer


@dataclass(frozen=True)
class FinderSettings:
    """Settings of `config.finder`; see configs/base.py for each key."""

    rule: str = "still_improving"
    steps: int = 100
    lo: float = 1e-7
    hi: float = 10.0
    beta: float = 0.98
    stop_factor: float = 4.0
    window_fraction: float = 1 / 7
    k: float = 2.0

    def problems(self) -> Iterator[str]:
        """Yield a message for each number that makes no sense, alone or with others."""
        if not 0 < self.lo < self.hi:
            yield (
                f"finder: 0 < lo < hi should hold; lo is {self.lo:g}, hi {self.hi:g} "
                "(None: the optimizer's default)"
            )
        if not self.steps >= FEWEST_STEPS:
            yield f"finder.steps should be {FEWEST_STEPS} or more"
        if not self.stop_factor > 1:
            yield "finder.stop_factor should be more than 1"
        if not 0 < self.beta < 1:
            yield "finder.beta should be between 0 and 1"
        if not 0 < self.window_fraction <= 0.5:
            yield "finder.window_fraction should be from 0 to 0.5"
        if self.k < 0:
            yield "finder.k should be 0 or more"


def settled(settings: FinderSettings, trains_body: bool) -> FinderSettings:
    """Replace the rule `auto` by the one that it means: `rise` for a body, `fall` for a head.

    A fresh head learns most of what it can while the rates go up, and its fall shows. A body
    improves little within a sweep; what shows is where it gets worse.
    """
    if settings.rule != AUTO:
        return settings
    return replace(settings, rule="rise" if trains_body else "fall")
