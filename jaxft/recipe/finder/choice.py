"""The choice of a learning rate from the losses of a sweep.

Stepping is the caller's (`training/range_test.py`): here are pure functions from rates and losses
to a rate. The rules read *paired* losses: those of the sweep less those of the unmoved weights on
the same batches, with the same views and dropout. That removes how hard the images are: 0 means
that the rates so far have done nothing, below 0 that they have helped.

Source of the test: Smith, Cyclical Learning Rates (2017).
"""

import numpy as np
from jaxtyping import Float

from jaxft.recipe.finder import sweep
from jaxft.recipe.finder.curve import Curve, Found, LRCurve, Paired
from jaxft.recipe.finder.rise import rise_of
from jaxft.recipe.finder.rules import RULES
from jaxft.recipe.finder.settings import FinderSettings
from jaxft.recipe.finder.sweep import FEWEST
from jaxft.recipe.finder.trend import smooth, trend

FEWEST_OF_RISE = 4  # losses that `rise` needs, where they end in divergence
MOVED = 5e-3  # of the loss: less is rounding in bfloat16, between one program and another


def choose(
    rates: Float[np.ndarray, " rates"],
    losses: Curve,
    unmoved: Float[np.ndarray, " rested"],
    settings: FinderSettings,
) -> LRCurve:
    """Apply every rule and choose the rate of `settings.rule`.

    Where that rule finds none, the first of RULES that finds one is taken, and the reason says so.

    Args:
      rates: as from `sweep.rates`.
      losses: of those steps; may be fewer, and may end in numbers not finite.
      unmoved: of the weights before the test on the same batches; may be more.
      settings: `steps` is the length of the whole sweep.

    Raises:
      ValueError: fewer than 15 finite losses (4 for `rise`, where they diverge after), or no rule
        finds a rate.
    """
    stop = sweep.stop_at(losses, settings)
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
