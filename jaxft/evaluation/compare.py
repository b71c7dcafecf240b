"""Compare two runs on the same examples: is one better, or is it chance?"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxft.errors import UserError
from jaxft.evaluation import intervals
from jaxft.evaluation.answers import FOLDER, METRICS, PREDICTIONS, fits
from jaxft.evaluation.intervals import Difference, Interval
from jaxft.runtime import csv_rows, paths
from jaxft.runtime.paths import AnyPath

PLACES = ("", FOLDER)  # below what is given: `evaluate --output`'s folder, or a run's
LEVEL = 0.05


class Prediction(NamedTuple):
    """One example as a run took it."""

    true: str
    right: bool
    loss: float


class Comparison(NamedTuple):
    """Two runs on the same examples; differences are the second's less the first's.

    `first` and `second` are accuracies, `loss` the mean difference of the losses in nats.
    """

    examples: int
    first: float
    second: float
    accuracy: Difference
    loss: float
    loss_interval: Interval

    @property
    def verdict(self) -> str:
        """Say in words which is better, if either."""
        p, points = self.accuracy.p, 100 * abs(self.accuracy.accuracy)
        if p < LEVEL:
            better = "second" if self.accuracy.accuracy > 0 else "first"
            return f"the {better} is better by {points:.1f} points (p = {p:.2g})"
        low, high = (100 * end for end in self.accuracy.interval)
        told = f"no difference in accuracy that {self.examples:,} examples tell from chance"
        return f"{told} (p = {p:.2g}); the second may be {low:+.1f} to {high:+.1f} points better"


def compare(first: Mapping[str, Prediction], second: Mapping[str, Prediction]) -> Comparison:
    """Compare two runs' predictions, by the examples' names.

    Raises:
      UserError: listing examples that one of them has not, or that have other labels.
    """
    problems = [f"only the first has {name}" for name in first if name not in second]
    problems += [f"only the second has {name}" for name in second if name not in first]
    problems += [
        f"{name}: {first[name].true} in the first, {second[name].true} in the second"
        for name in first
        if name in second and first[name].true != second[name].true
    ]
    if problems:
        raise UserError("These are not predictions of the same examples:", problems)
    one, other = (np.array([run[name].right for name in first]) for run in (first, second))
    rise = np.array([second[name].loss - first[name].loss for name in first])
    difference = intervals.of_difference(one, other)
    accuracies = float(one.mean()), float(other.mean())
    return Comparison(len(first), *accuracies, difference, *intervals.of_mean(rise))


def read_predictions(place: AnyPath) -> dict[str, Prediction]:
    """Read what a finished run, or `evaluate --output`, wrote of each example.

    Raises:
      UserError: there is none, or it is damaged.
    """
    files = [place / below / PREDICTIONS for below in PLACES]
    found = next((file for file in files if file.exists()), None)
    if found is None:
        raise UserError(
            f"{place} holds no {PREDICTIONS}",
            hint="A run writes it at its end, `jaxft evaluate --output=DIR` at any time.",
        )
    content = paths.read(found)
    text = content.decode(errors="surrogateescape")
    if not fits(found.parent, PREDICTIONS, content):
        raise UserError(f"{found} is damaged: it does not match its digest in {METRICS}")
    try:
        return {
            row["file"]: Prediction(
                row["true"], row["true"] == row["predicted"], float(row["loss"])
            )
            for row in csv_rows.read(text)
        }
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{found} is damaged") from None
