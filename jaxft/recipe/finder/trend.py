"""Averages of noisy losses: exponential, and local with a standard error."""

import numpy as np
from jaxtyping import Float

from jaxft.recipe.finder.curve import Curve

TREND_WIDTH = 1 / 16  # of the sweep's steps
WARM_STEPS = 10  # the best smoothed loss counts only after these


def smooth(losses: Curve, beta: float) -> Curve:
    """Exponential average of the losses, corrected for its start at 0."""
    smoothed, average = np.zeros(len(losses)), 0.0
    for i, loss in enumerate(losses):
        average = beta * average + (1 - beta) * float(loss)
        smoothed[i] = average / (1 - beta ** (i + 1))
    return smoothed


def width(steps: int) -> float:
    """Standard deviation of the trend's Gaussian weights, in steps."""
    return max(1.5, TREND_WIDTH * steps)


def trend(paired: Curve, steps: int, ahead: float = 1.0) -> tuple[Curve, Curve]:
    """Local mean of paired losses, and its standard error.

    The mean has Gaussian weights around every step, with the standard deviation `width(steps)`.
    The variance about it is averaged over windows four times as wide, which end `ahead` standard
    deviations after the step: what diverges later is no noise here.

    Args:
      paired: of the steps so far.
      steps: of the whole sweep.
      ahead: end of the window for the variance.
    """
    deviation = width(steps)
    numbers = np.arange(len(paired))
    distance = numbers - numbers[:, None]
    weights = _normalised(np.exp(-0.5 * np.square(distance / deviation)))
    mean = weights @ paired
    squares = np.square(weights).sum(axis=1)
    # Of a residual of independent noise, a mean that has the step itself in it leaves this share.
    left = 1 - 2 * np.diag(weights) + squares
    wide = np.exp(-0.5 * np.square(distance / (4 * deviation))) * (distance <= ahead * deviation)
    variance = _normalised(wide) @ (np.square(paired - mean) / left)
    return mean, np.sqrt(variance * squares)


def _normalised(
    weights: Float[np.ndarray, "steps steps"],
) -> Float[np.ndarray, "steps steps"]:
    """Scale every row to a sum of 1."""
    rows: Float[np.ndarray, "steps steps"] = weights / weights.sum(axis=1, keepdims=True)
    return rows
