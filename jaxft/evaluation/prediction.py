"""The prediction of one image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.errors import in_a_line

SHOWN = 3  # classes of a prediction that is printed


class Prediction(NamedTuple):
    """The most probable class of an image, its probability, and those of all classes by name."""

    label: str
    probability: float
    probabilities: dict[str, float]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, the most probable first."""
        order = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        return order[:count]

    def __repr__(self) -> str:
        """The three most probable classes."""
        told = ", ".join(f"{in_a_line(name)}: {number:.4f}" for name, number in self.top(SHOWN))
        return f"Prediction({told}{', ...' * (len(self.probabilities) > SHOWN)})"


def predictions(
    probabilities: Float[np.ndarray, "images classes"], classes: Sequence[str]
) -> list[Prediction]:
    """Name what the probabilities of each image say."""
    return [_prediction(row, classes) for row in probabilities]


def _prediction(row: np.ndarray, classes: Sequence[str]) -> Prediction:
    best = int(row.argmax())
    named = dict(zip(classes, row.tolist(), strict=True))
    return Prediction(classes[best], named[classes[best]], named)
