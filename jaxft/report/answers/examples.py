"""Examples with what was predicted of each, ordered by how wrong or how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxft.evaluation.calibration import losses_of


class Examples(NamedTuple):
    """Each example's name, true and predicted class, their probabilities, and its loss in nats."""

    names: Sequence[str]
    classes: Sequence[str]
    labels: Int[np.ndarray, " examples"]
    predicted: Int[np.ndarray, " examples"]
    p_true: Float[np.ndarray, " examples"]
    p_predicted: Float[np.ndarray, " examples"]
    losses: Float[np.ndarray, " examples"]

    def row(self, index: int) -> tuple[str, str, str, float, float, float]:
        """One example: name, true class, predicted class, their probabilities, the loss."""
        return (
            self.names[index],
            self.classes[self.labels[index]],
            self.classes[self.predicted[index]],
            float(self.p_true[index]),
            float(self.p_predicted[index]),
            float(self.losses[index]),
        )

    @property
    def most_wrong(self) -> Int[np.ndarray, " wrong"]:
        """Positions of the examples that are wrong, those with the largest loss first."""
        order: np.ndarray = np.argsort(-self.losses, kind="stable")
        return np.compress(self.predicted[order] != self.labels[order], order)

    @property
    def least_sure(self) -> Int[np.ndarray, " examples"]:
        """Positions of all examples, those whose predicted class is least probable first."""
        return np.argsort(self.p_predicted, kind="stable")

    @property
    def surest_right(self) -> Int[np.ndarray, " right"]:
        """Positions of the examples that are right, those with the smallest loss first."""
        order: np.ndarray = np.argsort(self.losses, kind="stable")
        return np.compress(self.predicted[order] == self.labels[order], order)


def examples_of(
    names: Sequence[str],
    classes: Sequence[str],
    labels: Int[np.ndarray, " examples"],
    probabilities: Float[np.ndarray, "examples classes"],
) -> Examples:
    """Describe the examples of a split by their probabilities."""
    every, predicted = np.arange(len(labels)), probabilities.argmax(1)
    return Examples(
        names,
        classes,
        labels,
        predicted,
        probabilities[every, labels],
        probabilities[every, predicted],
        losses_of(probabilities, labels),
    )
