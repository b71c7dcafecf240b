"""A linear head refitted on features: how well they tell classes apart, whatever head they had."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg

STRENGTHS = 10.0 ** np.arange(-6, 3)  # of the penalty, over the mean eigenvalue
LEAST_SPREAD = 1e-6  # a feature that spreads less is constant

Features = Float[np.ndarray, "_ features"]


def refit(
    features: Float[np.ndarray, "examples features"],
    labels: Int[np.ndarray, " examples"],
    classes: int,
) -> Callable[[Features], Int[np.ndarray, " _"]]:
    """Fit a linear classifier in closed form; return a function from features to labels.

    Ridge regression on one-hot labels of standardised features; its strength is the one of
    STRENGTHS with the least leave-one-out error on these very examples.

    Args:
      features, labels: to fit on.
      classes: their number.
    """
    inputs = np.asarray(features, np.float64)
    mean, spread = inputs.mean(0), inputs.std(0)
    scale = np.where(spread > LEAST_SPREAD, 1 / np.maximum(spread, LEAST_SPREAD), 0)
    inputs = (inputs - mean) * scale
    targets = np.eye(classes)[labels]
    offset = targets.mean(0)
    values, vectors = linalg.eigh(inputs @ inputs.T)
    duals = _best_duals(np.maximum(values, 0), vectors, targets - offset)
    kernel = inputs.T @ duals

    def classify(found: Features) -> Int[np.ndarray, " _"]:
        logits = ((np.asarray(found, np.float64) - mean) * scale) @ kernel + offset
        chosen: np.ndarray = logits.argmax(1)
        return chosen

    return classify


def _best_duals(
    values: Float[np.ndarray, " examples"],
    vectors: Float[np.ndarray, "examples examples"],
    targets: Float[np.ndarray, "examples classes"],
) -> Float[np.ndarray, "examples classes"]:
    """Solve for every strength; return the solution with the least leave-one-out error."""
    turned = vectors.T @ targets
    best, least = np.zeros_like(targets), np.inf
    for strength in STRENGTHS * max(values.mean(), 1e-12):
        inverse = 1 / (values + strength)
        duals = vectors @ (inverse[:, None] * turned)
        left_out = duals / ((vectors**2) @ inverse)[:, None]
        error = float((left_out**2).sum())
        if error < least:
            best, least = duals, error
    return best
