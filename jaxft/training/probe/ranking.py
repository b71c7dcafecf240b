"""Bodies in order, each set beside the best one image by image."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxft.evaluation import bootstrap, intervals
from jaxft.training.probe.bodies import Body
from jaxft.training.probe.folder import Measured


def ranked(found: Mapping[Body, Measured], best_by: str) -> list[dict[str, Any]]:
    """Return a row for each body, as JSON data, the best first.

    Args:
      found: the measures on the same validation examples.
      best_by: accuracy or val_loss, as `config.best_by` says; the other one breaks ties.
    """
    errors = bootstrap.errors(np.stack([each.losses for each in found.values()])[:, None])
    rows = [
        _row(body, each, float(errors.loss[number]), float(errors.error[number]))
        for number, (body, each) in enumerate(found.items())
    ]
    by = {"accuracy": lambda row: (-row["accuracy"], row["val_loss"])}
    by["val_loss"] = lambda row: (row["val_loss"], -row["accuracy"])
    rows.sort(key=by[best_by])
    best = found[_body(rows[0])]
    return [
        {"rank": rank, **row, **_beside(best, found[_body(row)])}
        for rank, row in enumerate(rows, 1)
    ]


def _body(row: Mapping[str, Any]) -> Body:
    return Body(row["model"], row["weights"])


def _row(body: Body, each: Measured, loss: float, error: float) -> dict[str, Any]:
    right = int(each.right.sum())
    return {
        **body._asdict(),
        "accuracy": right / len(each.right),
        "accuracy_interval": list(intervals.of_accuracy(right, len(each.right))),
        "val_loss": loss,
        "val_loss_se": error,
        **each.facts,
    }


def _beside(best: Measured, each: Measured) -> dict[str, Any]:
    """Return the accuracy and the loss less the best body's, with 95% intervals."""
    accuracy = intervals.of_difference(best.right, each.right)
    loss, of_loss = intervals.of_mean(each.losses.astype(np.float64) - best.losses)
    return {
        "above_best": {
            "accuracy": accuracy.accuracy,
            "accuracy_interval": list(accuracy.interval),
            "p": accuracy.p,
            "val_loss": loss,
            "val_loss_interval": list(of_loss),
        }
    }
