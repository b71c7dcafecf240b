"""Calibration: how far confidence is from accuracy, and the temperature that mends it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize

from jaxft.evaluation.softmax import softmax

BINS = 15
FOLDS = 5
LEAST = 1e-30  # a probability below it counts as this
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibration:
    """Calibration of probabilities on some examples.

    Attributes:
      error: expected calibration error: |confidence - accuracy|, averaged over the examples' bins.
      temperature: that divides the logits so that the loss is least, fitted on all examples; None
        where every example is right, and the loss falls with it without end.
      error_after, loss_after: by temperatures that did not see the examples they are judged on.
      bins: confidence from `low` to `high`: examples in it, their mean confidence and accuracy.
    """

    error: float
    temperature: float | None
    error_after: float
    loss_after: float
    bins: tuple[dict[str, Any], ...]


def calibrate(
    probabilities: Float[np.ndarray, "examples classes"],
    labels: Int[np.ndarray, " examples"],
) -> Calibration:
    """Measure calibration before and after a temperature, the latter by cross-validation.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (2017).
    """
    logits = np.log(np.maximum(probabilities, LEAST))
    after = np.array(probabilities, np.float64)
    folds = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    for fold in range(FOLDS if len(labels) >= FOLDS else 0):
        held_out = folds == fold
        found = best_temperature(logits[~held_out], labels[~held_out])
        after[held_out] = softmax(logits[held_out] / found)
    all_right = bool((probabilities.argmax(1) == labels).all())
    bins = bins_of(probabilities, labels)
    return Calibration(
        expected_error(bins),
        None if all_right else best_temperature(logits, labels),
        expected_error(bins_of(after, labels)),
        loss_of(after, labels),
        tuple(bins),
    )


def bins_of(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> list[dict[str, Any]]:
    """Describe the bins of equal width in confidence that hold an example."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    numbers = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "count": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(BINS)
        if (inside := numbers == number).any()
    ]


def expected_error(bins: list[dict[str, Any]]) -> float:
    """Return the mean distance between confidence and accuracy, each bin by its examples."""
    total = sum(one["count"] for one in bins)
    apart = (one["count"] * abs(one["confidence"] - one["accuracy"]) for one in bins)
    return float(sum(apart) / total)


def best_temperature(
    logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> float:
    """Return the temperature at which the examples' loss is least."""

    def loss(log_temperature: float) -> float:
        return loss_of(softmax(logits / np.exp(log_temperature)), labels)

    found = optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def loss_of(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> float:
    """Return the mean cross-entropy, nats."""
    return float(losses_of(probabilities, labels).mean())


def losses_of(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> Float[np.ndarray, " examples"]:
    """Return the cross-entropy of each example, nats."""
    picked = probabilities[np.arange(len(labels)), labels]
    found: np.ndarray = -np.log(np.maximum(picked, LEAST))
    return found
