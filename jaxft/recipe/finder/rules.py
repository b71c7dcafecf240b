"""The rules of the range test: each reads a rate from the paired losses, or finds none.

`valley` and `slide` are described with fastai 2, `minimum` and `steep` with fastai 0.7 and 2;
`fall`, `rise` and `still_improving` are jaxft's own, and so is the pairing.
"""

import math
from collections.abc import Callable

import numpy as np

from jaxft.recipe.finder.curve import Curve, Found, Paired
from jaxft.recipe.finder.rise import first_rise, rise
from jaxft.recipe.finder.settings import FinderSettings
from jaxft.recipe.finder.trend import WARM_STEPS, trend


def fall(found: Paired, settings: FinderSettings) -> Found:
    """The rate at which the paired losses' trend has fallen two thirds of the way to its minimum.

    The minimum is the one before the first clear rise. At higher rates the network comes to answer
    the same for every image, which is better again than a fresh head, but nothing learned. Where
    that minimum is not clearly below 0 and the trend rises clearly, it is a tenth of the rate where
    the trend rises. Clearly means by k + 1 standard errors, since the minimum is the deepest of
    some ten windows; the errors of a rise take in the noise on its far side.
    """
    mean, error = found.trend, found.error
    clear = (settings.k + 1) * error
    lowest = int(np.argmin(mean[: first_rise(mean, clear)]))
    if mean[lowest] < -clear[lowest]:
        above = np.flatnonzero(mean[:lowest] > 2 / 3 * mean[lowest])
        index = int(above[-1]) + 1 if len(above) else lowest
        deepest = f"{-mean[lowest]:.3g} +- {error[lowest]:.2g} at {found.rates[lowest]:.1e}"
        return float(found.rates[index]), f"two thirds of the loss's deepest fall, {deepest}"
    harms = np.flatnonzero(
        mean > (settings.k + 1) * trend(found.losses, settings.steps, ahead=math.inf)[1]
    )
    if not len(harms):
        return None, "no rate moves the paired loss clearly"
    harmful = float(found.rates[harms[0]])
    return harmful / 10, f"the loss never falls clearly; a tenth of {harmful:.1e}, where it rises"


def valley(found: Paired, settings: FinderSettings) -> Found:
    """The rate in the middle of the longest valley, less the first tenth and last 5 points.

    A valley is a falling subsequence of L points; it counts as the L steps before its last.
    """
    skip = len(found.smoothed) // 10
    curve = found.smoothed[skip : len(found.smoothed) - 5]
    length, last = _longest_decreasing(curve)
    if length < 3:
        return None, "the smoothed loss never falls"
    index = skip + last - length + int(length / 3) + int(length / 6)
    return float(found.rates[index]), f"middle of the longest valley, {length} falling points long"


def still_improving(found: Paired, settings: FinderSettings) -> Found:
    """The highest rate where the loss clearly falls, never above `minimum`.

    Two things must hold over a window of the losses, by k standard errors each: its slope is
    below 0, and its mean is below that of the first window. The second keeps chance dips on the
    plateau of tiny rates from counting. Where the loss rises before it has fallen (a head that
    is trained already), it is a tenth of that rate.
    """
    losses = found.losses
    width = max(5, round(len(losses) * settings.window_fraction))
    ceiling, _ = minimum(found, settings)
    first = losses[:width]
    best: Found = (None, "no window of the losses falls clearly")
    for start in range(width, len(losses) - width + 1):
        window = losses[start : start + width]
        slope, error = _line(np.log(found.rates[start : start + width]), window)
        rise = float(window.mean() - first.mean())
        noise = settings.k * math.sqrt(float(first.var(ddof=1) + window.var(ddof=1)) / width)
        lr = float(found.rates[start + width // 2])
        falls = slope < -settings.k * error and rise < -noise
        if falls and (ceiling is None or lr <= ceiling):
            best = (lr, f"slope {slope:.3g} +- {error:.2g} per unit of ln(lr), still falling")
        if best[0] is None and rise > 3 * noise:
            reason = f"the loss never falls clearly; a tenth of {lr:.1e}, where it rises"
            if ceiling is not None and ceiling < lr / 10:
                return ceiling, f"{reason}, is above {ceiling:.1e}, which `minimum` allows"
            return lr / 10, reason
    return best


def minimum(found: Paired, settings: FinderSettings) -> Found:
    """A tenth of the rate at the least smoothed loss after the first WARM_STEPS.

    Before, the average is of a few batches: an easy one would pass for the minimum.
    """
    index = WARM_STEPS + int(np.argmin(found.smoothed[WARM_STEPS:]))
    if index == WARM_STEPS:
        return None, "the smoothed loss never falls"
    least = float(found.rates[index])
    return least / 10, f"a tenth of {least:.2e}, where the loss is least"


def steep(found: Paired, settings: FinderSettings) -> Found:
    """The rate where the smoothed loss falls fastest per unit of ln(lr)."""
    slopes = np.gradient(found.smoothed, np.log(found.rates))
    index = WARM_STEPS + int(np.argmin(slopes[WARM_STEPS:]))
    if slopes[index] >= 0:
        return None, "the smoothed loss never falls"
    return float(found.rates[index]), f"steepest descent, {slopes[index]:.3g} per unit of ln(lr)"


def slide(found: Paired, settings: FinderSettings) -> Found:
    """Slide a window down from the right until the slopes at its ends nearly agree."""
    width, tolerance = 15, 0.005
    slopes = np.gradient(found.smoothed)
    right = len(slopes) - 1
    chosen = left = right - width
    while left > 0 and abs(slopes[right] - slopes[left]) > tolerance:
        chosen, left, right = left, left - 1, right - 1
    if left <= 0:
        return None, "the slopes at the window's ends never agree"
    return float(found.rates[chosen]), f"slopes agree within {tolerance} over {width} points"


def _longest_decreasing(values: Curve) -> tuple[int, int]:
    """(length, last index) of the first longest strictly decreasing subsequence."""
    length = np.ones(len(values), int)
    for i in range(1, len(values)):
        length[i] += max(length[:i][values[:i] > values[i]], default=0)
    last = int(np.argmax(length))
    return int(length[last]), last


def _line(x: Curve, y: Curve) -> tuple[float, float]:
    """Least-squares slope and its standard error."""
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    return slope, math.sqrt(float(residual @ residual) / (len(x) - 2) / float(x @ x))


# In the order in which they stand in for a rule that finds none: those that ask for a clear effect
# first, then `valley`, which asks for many falling points; one lucky batch can make the `minimum`.
RULES: dict[str, Callable[[Paired, FinderSettings], Found]] = {
    "still_improving": still_improving,
    "fall": fall,
    "rise": rise,
    "valley": valley,
    "minimum": minimum,
    "steep": steep,
    "slide": slide,
}
