"""Curves of a range test: losses by rate, and what the rules read from them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Curve = Float[np.ndarray, " steps"]
Found = tuple[float | None, str]  # a rule's rate, if it finds one, and its reason in words


class Trials(NamedTuple):
    """Rates at which a phase was tried, lowest first, and the validation loss that each led to."""

    rates: Curve
    losses: Curve


class Paired(NamedTuple):
    """Paired losses of a range test, as the rules read them.

    `smoothed` is their exponential average, `trend` their local mean, `error` its standard error;
    `risen` is the rise that the rule `rise` looks for (`rise_of`); `diverging` is the rate at which
    the loss diverged and ended the test, None where it did not.
    """

    rates: Curve
    losses: Curve
    smoothed: Curve
    trend: Curve
    error: Curve
    risen: float
    diverging: float | None = None


@dataclass(frozen=True)
class LRCurve:
    """Rates and losses of a range test, every rule's rate, and the rate chosen.

    `unmoved` are the losses of the weights before the test, on the same batches; `trend` is the
    paired losses' local mean, `error` its standard error. `rules` maps each rule to what it found;
    `lr` is the chosen rate, `rule` the rule that gave it, `reason` why. If there are `trials`, they
    chose it.
    """

    rates: Curve
    losses: Curve
    unmoved: Curve
    trend: Curve
    error: Curve
    rules: dict[str, Found]
    lr: float
    rule: str
    reason: str
    trials: Trials | None = None

    @property
    def paired(self) -> Curve:
        """Effect of each step's rate, and of those before it, on the loss of its batch."""
        difference: Curve = self.losses - self.unmoved
        return difference
