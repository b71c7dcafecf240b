"""Trials of a phase at rates around a start, which the validation loss decides."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jaxft.recipe.finder.curve import LRCurve, Trials

TRIAL = "trial"
TRIED = 1e-3  # times powers of 2: the rates of trials
MOST_TRIALS = 10


def climb(start: float, loss_of: Callable[[float], float], lo: float, hi: float) -> Trials:
    """Try rates around a start until the best of them has two worse ones on either side.

    They are TRIED * 2^k from `lo` to `hi`, the first of them nearest to `start`: so other starts,
    and other seeds, come to the same ones. There are at most MOST_TRIALS; a loss that is no number
    is the worst.
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
    """Give a curve the rate of the trial with the lowest validation loss.

    Where no trial has a finite one, the curve stays as it is.
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
