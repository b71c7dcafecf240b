"""The learning-rate range test: pure functions from rates and losses to a chosen rate.

Stepping is the caller's (`range_test`): this file makes the sweep, says when to stop, and
applies the rules that pick a rate. The rules read *paired* losses: those of the sweep less those of
the unmoved weights on the same batches, with the same views and dropout. So which images are hard
drops out: 0 means that the rates so far have done nothing, below 0 that they have helped.

Source of the test: Smith, Cyclical Learning Rates (2017). `valley` and `slide` are described with
fastai 2, `minimum` and `steep` with fastai 0.7 and 2; the pairing, `fall`,
`rise` and `still_improving` are jaxft's own.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.recipe.schedules import exponential_sweep

Curve = Float[np.ndarray, " steps"]
AUTO = "auto"
TRIAL = "trial"
TRIED = 1e-3  # times powers of 2: the rates of trials
MOST_TRIALS = 10
RISEN = 0.5  # nats above the least loss before: the rise that `rise` goes by
CLIP = 4  # times that rise: what is above it counts as so much
OF_RISEN = 2 / 3  # of the rate at that rise
SAFE = 0.1  # of the sweep's highest rate: `rise` looks no further
TREND_WIDTH = 1 / 16  # of the sweep's steps
SETTLED = 2.5  # widths of the trend's mean after a rise: what comes later moves it little
LOOKS = 40  # in a sweep, to see if it has found its rate
FEWEST = 15  # losses that a rate can be found from
FEWEST_OF_RISE = 4  # by `rise`, where they end in divergence
MOVED = 5e-3  # of the loss: less is rounding in bfloat16, between one program and another
WARM_STEPS = 10  # the best smoothed loss counts only after so many steps


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
        """Yield a message for each value that makes no sense, alone or with others."""
        if self.rule not in (AUTO, *RULES):
            yield f"finder.rule is {self.rule!r}; known: {', '.join([AUTO, *RULES])}"
        if not 0 < self.lo < self.hi:
            yield (
                f"finder: 0 < lo < hi should hold; lo is {self.lo:g}, hi {self.hi:g} "
                "(where None, as the optimizer has it)"
            )
        if not self.steps >= 20:
            yield "finder.steps should be 20 or more"
        if not self.stop_factor > 1:
            yield "finder.stop_factor should be more than 1"
        if not 0 < self.beta < 1:
            yield "finder.beta should be between 0 and 1"
        if not 0 < self.window_fraction <= 0.5:
            yield "finder.window_fraction: 0 to 0.5"
        if self.k < 0:
            yield "finder.k should be 0 or more"


class Trials(NamedTuple):
    """Rates that a phase was tried at, lowest first, and the validation losses they ended with."""

    rates: Curve
    losses: Curve


@dataclass(frozen=True)
class LRCurve:
    """Rates, losses and what every rule makes of them.

    `unmoved` are the losses of the weights before the test, on the same batches; `trend` is the
    paired losses' local mean, `error` its standard error. `rules` maps a rule to (rate or None, the
    reason in words); `lr` is the chosen rate, `rule` the rule it came from, `reason` why. Where
    `trials` were made, they chose it.
    """

    rates: Curve
    losses: Curve
    unmoved: Curve
    trend: Curve
    error: Curve
    rules: dict[str, tuple[float | None, str]]
    lr: float
    rule: str
    reason: str
    trials: Trials | None = None

    @property
    def paired(self) -> Curve:
        """Effect of each step's rate, and of those before it, on the loss of its batch."""
        return self.losses - self.unmoved


def settled(settings: FinderSettings, trains_body: bool) -> FinderSettings:
    """The same with the sweep's rule that `auto` stands for: `rise` for a body, `fall` for a head.

    A fresh head learns most of what it can on its way up the rates, and its fall shows. A body does
    not get much better within a sweep; what shows is where it gets worse.
    """
    if settings.rule != AUTO:
        return settings
    return replace(settings, rule="rise" if trains_body else "fall")


def climb(start: float, loss_of: Callable[[float], float], lo: float, hi: float) -> Trials:
    """Try rates around a start until the best of them has two worse ones on either side.

    They are TRIED * 2^k from `lo` to `hi`, the first of them nearest to `start`: so other starts,
    and other seeds, come to the same ones. At most MOST_TRIALS; a loss that is no number is the
    worst.
    """
    losses: dict[int, float] = {}
    lowest, highest = math.ceil(math.log2(lo / TRIED)), math.floor(math.log2(hi / TRIED))
    wanted: list[int] = [min(max(round(math.log2(start / TRIED)), lowest), highest)]
    while wanted and len(losses) < MOST_TRIALS:
        loss = loss_of(TRIED * 2.0 ** wanted[0])
        losses[wanted[0]] = loss if math.isfinite(loss) else math.inf
        best = min(losses, key=losses.__getitem__)
        near = (best - 1, best + 1, best - 2, best + 2)
        wanted = [k for k in near if k not in losses and lowest <= k <= highest]
    order = sorted(losses)
    return Trials(TRIED * 2.0 ** np.array(order), np.array([losses[k] for k in order]))


def decided(curve: LRCurve, trials: Trials) -> LRCurve:
    """The same curve, its rate that of the trial with the lowest validation loss.

    Where no trial has a finite one, it stays as it is.
    """
    best = int(np.argmin(trials.losses))
    if not math.isfinite(trials.losses[best]):
        return curve
    lr, count = float(trials.rates[best]), len(trials.rates)
    reason = f"the lowest validation loss of {count} trials, {trials.losses[best]:.4f}"
    for i, where in ((best - 1, "half of it"), (best + 1, "twice it")):
        told = f"{trials.losses[i]:.4f}" if 0 <= i < count else "not tried"
        reason += f"; {told} at {where}"
    rules = {TRIAL: (lr, reason), **curve.rules}
    return replace(curve, rules=rules, lr=lr, rule=TRIAL, reason=reason, trials=trials)


def sweep(settings: FinderSettings) -> Curve:
    """The rates to try, lowest first."""
    return exponential_sweep(settings.lo, settings.hi, settings.steps)(np.arange(settings.steps))


def smooth(losses: Curve, beta: float) -> Curve:
    """Exponential average of the losses, corrected for its start at 0."""
    smoothed, average = np.zeros(len(losses)), 0.0
    for i, loss in enumerate(losses):
        average = beta * average + (1 - beta) * float(loss)
        smoothed[i] = average / (1 - beta ** (i + 1))
    return smoothed


def stop_at(losses: Curve, settings: FinderSettings) -> int | None:
    """Number of leading losses that are usable, or None while the sweep should go on.

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


def ended(losses: Curve, unmoved: Curve, settings: FinderSettings) -> bool:
    """True where no further rate is to be tried.

    The losses diverge (`stop_at`), or the rule is `rise` and has found its rate, or looks no
    further: higher ones would but cost time.

    Args:
      losses: of the steps so far.
      unmoved: of the weights before the test on the same batches; may be longer.
    """
    if stop_at(losses, settings) is not None:
        return True
    looked_at = len(losses) % max(1, settings.steps // LOOKS) == 0
    if settings.rule != "rise" or len(losses) < FEWEST or not looked_at:
        return False
    unmoved = unmoved[: len(losses)]
    step = _risen(losses - unmoved, settings, rise_of(unmoved))
    last = int(np.searchsorted(sweep(settings), _safe(settings)))
    step = last if step is None else min(step, last)
    return step + SETTLED * _width(settings.steps) < len(losses)


def rise_of(unmoved: Curve) -> float:
    """Rise of the loss, in nats, by which weights have clearly been harmed.

    Half a nat; less of weights that have less to lose: they are harmed when their loss has doubled.
    """
    return min(RISEN, float(unmoved.mean()))


def _safe(settings: FinderSettings) -> float:
    """The highest rate that `rise` looks at: SAFE of the sweep's, of a narrow one its middle."""
    return max(SAFE * settings.hi, math.sqrt(settings.lo * settings.hi))


def _width(steps: int) -> float:
    """Standard deviation of the trend's Gaussian weights, in steps."""
    return max(1.5, TREND_WIDTH * steps)


def trend(paired: Curve, steps: int, ahead: float = 1.0) -> tuple[Curve, Curve]:
    """Local mean of paired losses, and its standard error.

    The mean has Gaussian weights around every step, whose standard deviation is TREND_WIDTH of the
    `steps` of the whole sweep, 1.5 at least; the variance about it is averaged over windows four
    times as wide, which end so many standard deviations `ahead` of the step: what diverges later is
    no noise here.
    """
    width = _width(steps)
    numbers = np.arange(len(paired))
    distance = numbers - numbers[:, None]
    weights = _normalised(np.exp(-0.5 * np.square(distance / width)))
    mean = weights @ paired
    squares = np.square(weights).sum(axis=1)
    # Of a residual of independent noise, a mean that has the step itself in it leaves this share.
    left = 1 - 2 * np.diag(weights) + squares
    wide = np.exp(-0.5 * np.square(distance / (4 * width))) * (distance <= ahead * width)
    variance = _normalised(wide) @ (np.square(paired - mean) / left)
    return mean, np.sqrt(variance * squares)


def _normalised(
    weights: Float[np.ndarray, "steps steps"],
) -> Float[np.ndarray, "steps steps"]:
    """Rows whose sum is 1."""
    return weights / weights.sum(axis=1, keepdims=True)


def choose(rates: Curve, losses: Curve, unmoved: Curve, settings: FinderSettings) -> LRCurve:
    """Apply every rule and choose the rate of `settings.rule`.

    Where that rule finds none, the first of RULES that finds one is taken, and the reason says so.

    Args:
      rates: as from `sweep`, [steps].
      losses: of those steps; may be shorter, and may end in numbers not finite.
      unmoved: of the weights before the test on the same batches.
      settings: `steps` is the length of the whole sweep.

    Raises:
      ValueError: fewer than 15 finite losses (4 for `rise`, where they diverge after), or no rule
        finds a rate.
    """
    stop = stop_at(losses, settings)
    count = len(losses) if stop is None else stop
    if count < (FEWEST_OF_RISE if settings.rule == "rise" and stop is not None else FEWEST):
        raise ValueError(
            f"the loss diverged after {count} steps of the range test; lower config.finder.lo"
        )
    diverging = None if stop is None else float(rates[stop])
    rates, losses, unmoved = (np.asarray(a[:count], np.float64) for a in (rates, losses, unmoved))
    paired = losses - unmoved
    if np.ptp(paired) <= MOVED * np.abs(losses).max():
        raise ValueError("no rule finds a learning rate: the loss never moved in the range test")
    smoothed = smooth(paired, settings.beta)
    mean, error = trend(paired, settings.steps)
    found = Paired(rates, paired, smoothed, mean, error, rise_of(unmoved), diverging)
    few: Found = (None, f"fewer than {FEWEST} losses")
    rules = {
        name: rule(found, settings) if count >= FEWEST or name == "rise" else few
        for name, rule in RULES.items()
    }
    order = [settings.rule, *(name for name in RULES if name != settings.rule)]
    for name in order:
        lr, reason = rules[name]
        if lr is not None:
            fallback = "" if name == settings.rule else f"{settings.rule} found none; "
            reason = fallback + reason
            return LRCurve(
                rates, losses, unmoved, found.trend, found.error, rules, lr, name, reason
            )
    raise ValueError("no rule finds a learning rate: the loss never fell in the range test")


class Paired(NamedTuple):
    """Paired losses of a range test, as the rules read them.

    `smoothed` is their exponential average, `trend` their local mean, `error` its standard error;
    `risen` is the rise that `rise` goes by (`rise_of`), `diverging` the rate at which the loss
    ended the test, None where it did not.
    """

    rates: Curve
    losses: Curve
    smoothed: Curve
    trend: Curve
    error: Curve
    risen: float
    diverging: float | None = None


Found = tuple[float | None, str]


def fall(found: Paired, settings: FinderSettings) -> Found:
    """The rate at which the paired losses' trend has fallen two thirds of the way to its minimum.

    The minimum is that before the first clear rise: at rates beyond it the network comes to answer
    the same for every image: better again than a fresh head, but nothing learned.
    Where that minimum is not clearly below 0 and the trend rises clearly, a tenth of the rate where
    it does. Clearly: by k + 1 standard errors, for it is the deepest of some ten windows; those of
    a rise take in the noise on its far side.
    """
    mean, error = found.trend, found.error
    clear = (settings.k + 1) * error
    lowest = int(np.argmin(mean[: _first_rise(mean, clear)]))
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


def rise(found: Paired, settings: FinderSettings) -> Found:
    """Two thirds of the rate at which the loss has risen by half a nat, or doubled (`rise_of`).

    It counts from its least before. There the curve is steep, and noise moves the rate little;
    where it falls, if it does, is noise for weights that have learned already. If the loss diverges
    before its local mean shows that, two thirds of the rate where it does; if neither happens up to
    a tenth of the sweep's highest rate, two thirds of that: such weights have little to lose.
    """
    step = _risen(found.losses, settings, found.risen)
    highest = _safe(settings)
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


def _risen(paired: Curve, settings: FinderSettings, least: float) -> int | None:
    """The first step at which the trend has risen clearly, and by so many nats.

    What is above CLIP times that counts as so much: through the trend's mean, a loss that explodes
    would reach back to steps before it.
    """
    mean, error = trend(np.minimum(paired, CLIP * least), settings.steps)
    return _first_rise(mean, np.maximum((settings.k + 1) * error, least))


def _first_rise(mean: Curve, least: Curve) -> int | None:
    """The first step at which the trend is above its minimum so far by more than `least`."""
    rises = np.flatnonzero(mean - np.minimum.accumulate(mean) > least)
    return int(rises[0]) if len(rises) else None


def valley(found: Paired, settings: FinderSettings) -> Found:
    """The middle of the longest valley, on the curve less its first tenth and last 5 points.

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
    is trained already), a tenth of that rate is the choice.
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
    """A tenth of the rate at the least smoothed loss, its first WARM_STEPS aside.

    So early the average is of a few batches: an easy one would pass for the minimum.
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


def _longest_decreasing(values: Curve) -> tuple[int, int]:
    """(length, last index) of the longest strictly decreasing subsequence; the first such."""
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
