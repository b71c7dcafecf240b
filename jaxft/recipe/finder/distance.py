"""A body's rate by how far the images are from those that it knows.

A sweep of forty steps shows where a body gets worse, and that is much the same for all images. What
pays over epochs is not: images like those that the body was trained on want small steps, which keep
what it knows, and others want large ones, with which it learns anew. How far they are is told by
the statistics of its later layers (`training/rebase.py`), for ten forward passes at most.

Source of the idea: Li et al., Rethinking the Hyperparameters for Fine-tuning (2020). The numbers
are the proving ground's (bench/README.md), by AdamW.
"""

import math
from dataclasses import replace

from jaxft.recipe.finder.curve import LRCurve
from jaxft.recipe.finder.rise import OF_RISEN, SAFE
from jaxft.recipe.finder.settings import FEWEST_STEPS, SWEEPS, FinderSettings

DISTANCE = "distance"
DISTANCE_SIZE = 96  # pixels that views are scaled to: it depends on their number
# Nats a channel up to which images are near, and from which they are far, by architecture.
BORDERS = {"efficientnet_lite0": (0.18, 0.215)}
RATES = 1.4e-3, 5.6e-3  # of the group with the highest one, for near images and for far ones
MOST = 1.0, 4.0  # times the rate of the rule `rise`: some weights bear less
FURTHER = 4 / 3  # times the rate that it has to find: then the picture shows the one chosen
# The sweep begins at that rate over BEFORE: all that are lower move the weights less than one step
# at it. Where it would begin below USUAL, somebody has asked for it.
BEFORE = 7
USUAL, _ = SWEEPS["adamw"]


def bounded(settings: FinderSettings) -> FinderSettings:
    """Shorten the sweep of the rule `rise` to what `decided` asks of it; rates lie as close.

    That is whether the weights bear the rate that the images want: rates at which they would bear
    more need not be tried, nor those at which they hardly move.
    """
    sought = max(rate / most for rate, most in zip(RATES, MOST, strict=True))
    hi = FURTHER * sought / OF_RISEN / SAFE
    if not settings.lo < hi < settings.hi:
        return settings
    lo = settings.lo if settings.lo < USUAL else max(settings.lo, sought / BEFORE)
    share = math.log(hi / lo) / math.log(settings.hi / settings.lo)
    steps = max(FEWEST_STEPS, math.ceil(share * settings.steps))
    return replace(settings, lo=lo, hi=hi, steps=steps)


def decided(curve: LRCurve, name: str, nats: float) -> LRCurve:
    """Give a curve the rate for images at a distance, at most some times its own.

    Args:
      curve: whose rate the rule `rise` found.
      name: of the architecture, one of BORDERS.
      nats: the distance (`statistics.distance`).
    """
    near, far = BORDERS[name]
    share = math.log(min(max(nats, near), far) / near) / math.log(far / near)
    wanted, most = (low * math.pow(high / low, share) for low, high in (RATES, MOST))
    lr = min(wanted, most * curve.lr)
    reason = f"for images {nats:.2f} nats a channel from those that the body knows"
    if lr < wanted:
        reason += f", {wanted:.1e}, but at most {most:.2g} times {curve.lr:.1e} of {curve.rule}"
    rules = {DISTANCE: (lr, reason), **curve.rules}
    return replace(curve, rules=rules, lr=lr, rule=DISTANCE, reason=reason)
