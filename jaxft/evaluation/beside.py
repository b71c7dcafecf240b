"""Weights beside the best epoch's, on the same validation images."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxft.evaluation import intervals
from jaxft.evaluation.calibration import LEAST
from jaxft.evaluation.metrics import Evaluation
from jaxft.recipe.overfit import paired_t

LEAST_T = 2.0  # by which the losses of what wins are lower


def wins(found: Evaluation, other: Evaluation) -> bool:
    """Tell whether `found` is better than `other` by more than chance.

    It is if the paired t of its losses is -LEAST_T or less, and its accuracy is not lower. The
    losses say more than the few images whose answers change; the accuracy keeps out what is only
    less sure of its mistakes.
    """
    if not np.isfinite(found.losses).all() or found.accuracy < other.accuracy:
        return False
    return paired_t(found.losses, other.losses) <= -LEAST_T


def row(name: str, found: Evaluation, best: Evaluation | None = None) -> dict[str, Any]:
    """Return figures of weights as JSON takes them, with the paired tests against the best epoch.

    `t` is of the losses, below 0 where they are lower; `p` is McNemar's, of the accuracies. Both
    are None where there is no `best`, and t where it is not finite.
    """
    figures: dict[str, Any] = {
        "weights": name,
        "accuracy": found.accuracy,
        "val_loss": _finite(found.val_loss),
        "t": None,
        "p": None,
    }
    if best is None:
        return figures
    right, before = (one.probabilities.argmax(1) == one.labels for one in (found, best))
    if np.isfinite(found.losses).all():
        figures["t"] = _finite(paired_t(found.losses, best.losses))
    figures["p"] = intervals.of_difference(before, right).p
    return figures


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ensemble(members: Sequence[Evaluation]) -> Evaluation:
    """Evaluate the mean of several members' probabilities on the same examples.

    Source: Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, Snapshot Ensembles: Train 1, Get M for
    Free (2017).
    """
    labels = members[0].labels
    mean = np.mean([member.probabilities for member in members], axis=0)
    own = mean[np.arange(len(labels)), labels]
    return Evaluation(-np.log(np.maximum(own, LEAST)), mean, labels)
