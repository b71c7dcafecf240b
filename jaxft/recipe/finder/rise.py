"""The rule `rise`: a rate below the one that clearly harms the weights."""

import math

import numpy as np

from jaxft.recipe.finder.curve import Curve, Found, Paired
from jaxft.recipe.finder.settings import FinderSettings
from jaxft.recipe.finder.trend import trend

RISEN = 0.5  # nats above the least loss before: the rise to look for
CLIP = 4  # times that rise: higher losses are cut down to it
OF_RISEN = 2 / 3  # of the rate at that rise
SAFE = 0.1  # of the sweep's highest rate: the rule looks no further


def rise(found: Paired, settings: FinderSettings) -> Found:
    """Two thirds of the rate at which the loss has risen by half a nat, or doubled (`rise_of`).

    The rise counts from the least loss before it. There the curve is steep, and noise moves the
    rate little; for weights that have learned already, any fall is noise. If the loss diverges
    before its local mean shows a rise, it is two thirds of the rate where it diverges; if neither
    happens up to `highest_rate`, two thirds of that: such weights have little to lose.
    """
    step = risen(found.losses, settings, found.risen)
    highest = highest_rate(settings)
    if step is not None:
        at, where = float(found.rates[step]), f"where the loss has risen by {found.risen:.2g}"
    elif found.diverging is not None:
        at, where = found.diverging, "where the loss diverged"
    else:
        at, where = math.inf, ""
        highest = min(highest, float(found.rates[-1]))
    if at > highest:
        if settings.rule != "rise":  # it stands in for a rule that found none
            return None, f"the loss never rises by {found.risen:.2g} in time"
        at, where = highest, f"up to which the loss never rises by {found.risen:.2g}"
    return OF_RISEN * at, f"two thirds of {at:.1e}, {where}"


def rise_of(unmoved: Curve) -> float:
    """Rise of the loss, in nats, by which weights have clearly been harmed.

    It is half a nat, or less for weights that have less to lose: a loss that has doubled is harm.
    """
    return min(RISEN, float(unmoved.mean()))


def highest_rate(settings: FinderSettings) -> float:
    """Highest rate that the rule looks at: SAFE of the sweep's, but at least the sweep's middle."""
    return max(SAFE * settings.hi, math.sqrt(settings.lo * settings.hi))


def risen(paired: Curve, settings: FinderSettings, least: float) -> int | None:
    """First step at which the trend has risen clearly, and by `least` nats or more.

    Losses are cut down to CLIP times `least`: through the trend's mean, a loss that explodes would
    reach back to steps before it.
    """
    mean, error = trend(np.minimum(paired, CLIP * least), settings.steps)
    return first_rise(mean, np.maximum((settings.k + 1) * error, least))


def first_rise(mean: Curve, least: Curve) -> int | None:
    """First step at which the trend is above its minimum so far by more than `least`."""
    rises = np.flatnonzero(mean - np.minimum.accumulate(mean) > least)
    return int(rises[0]) if len(rises) else None
