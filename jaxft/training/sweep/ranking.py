"""The settings of a sweep in order, by the validation loss at the end of the phase."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxft.evaluation import bootstrap
from jaxft.training.sweep.folder import Scores
from jaxft.training.sweep.grid import Point


def ranked(
    tried: Sequence[Point], seeds: Sequence[int], scores: Scores
) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the points' numbers from the best on, and a row of each, as JSON data.

    A setting with a loss that is not finite comes last, and has None for it.
    """
    found = bootstrap.errors(scores.losses)
    order = np.argsort(np.where(np.isnan(found.loss), np.inf, found.loss), kind="stable").tolist()
    rows = []
    for rank, number in enumerate(order, 1):
        losses = scores.losses[number].mean(1, dtype=np.float64)
        right = scores.right[number].mean(1)
        rows.append(
            {
                "rank": rank,
                **tried[number]._asdict(),
                "val_loss": _number(found.loss[number]),
                "val_loss_se": _number(found.error[number]),
                "above_best": _number(found.rise[number]),
                "above_best_se": _number(found.rise_error[number]),
                "accuracy": float(right.mean()),
                "by_seed": [
                    {"seed": seed, "val_loss": _number(loss), "accuracy": float(share)}
                    for seed, loss, share in zip(seeds, losses, right, strict=True)
                ],
            }
        )
    return order, rows


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
