"""The sweep of a range test: its rates, and when it ends."""

import math

import numpy as np
from jaxtyping import Float

from jaxft.recipe.finder import rise
from jaxft.recipe.finder.curve import Curve
from jaxft.recipe.finder.settings import FinderSettings
from jaxft.recipe.finder.trend import WARM_STEPS, smooth, width
from jaxft.recipe.schedules import exponential_sweep

LOOKS = 40  # in a sweep, to see if it has found its rate
FEWEST = 15  # losses that a rate can be found from
SETTLED = 2.5  # widths of the trend's mean after a rise: what comes later moves it little


def rates(settings: FinderSettings) -> Curve:
    """Rates to try, lowest first."""
    schedule = exponential_sweep(settings.lo, settings.hi, settings.steps)
    tried: Curve = schedule(np.arange(settings.steps))
    return tried


def stop_at(losses: Curve, settings: FinderSettings) -> int | None:
    """Return the number of leading losses that are usable, or None while the sweep should go on.

    It ends at the first loss that is not finite, or whose smoothed value exceeds `stop_factor`
    times the best one so far.
    """
    losses = np.asarray(losses, np.float64)
    bad = np.flatnonzero(~np.isfinite(losses))
    finite = losses[: bad[0]] if len(bad) else losses
    smoothed = smooth(finite, settings.beta)
    best = math.inf
    for i, loss in enumerate(smoothed):
        if loss > settings.stop_factor * best:
            return i
        if i >= WARM_STEPS:
            best = min(best, loss)
    return len(finite) if len(bad) else None


def ended(losses: Curve, unmoved: Float[np.ndarray, " rested"], settings: FinderSettings) -> bool:
    """Tell whether the sweep is over.

    It is where the losses diverge (`stop_at`), or where the rule is `rise` and has found its rate
    or looks no further: higher rates would only cost time.

    Args:
      losses: of the steps so far.
      unmoved: of the weights before the test on the same batches; may be longer.
      settings: of the test.
    """
    if stop_at(losses, settings) is not None:
        return True
    if settings.rule != "rise" or not _looks(len(losses), settings):
        return False
    unmoved = unmoved[: len(losses)]
    step, last = rise.risen(losses - unmoved, settings, rise.rise_of(unmoved)), _last(settings)
    return _is_past(last if step is None else min(step, last), len(losses), settings)


def most_steps(settings: FinderSettings) -> int:
    """Number of steps after which a sweep has `ended`, whatever the losses."""
    if settings.rule != "rise":
        return settings.steps
    last, counts = _last(settings), range(settings.steps)
    ends = (n for n in counts if _looks(n, settings) and _is_past(last, n, settings))
    return next(ends, settings.steps)


def _looks(count: int, settings: FinderSettings) -> bool:
    """Tell whether a sweep looks for its end after so many losses."""
    return count >= FEWEST and count % max(1, settings.steps // LOOKS) == 0


def _is_past(step: int, count: int, settings: FinderSettings) -> bool:
    """Tell whether, after so many losses, later ones move the trend at a step little."""
    return step + SETTLED * width(settings.steps) < count


def _last(settings: FinderSettings) -> int:
    """Return the step of the highest rate that the rule `rise` looks at."""
    return int(np.searchsorted(rates(settings), rise.highest_rate(settings)))
