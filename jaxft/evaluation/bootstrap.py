"""Standard errors of validation losses, and of their differences, by the bootstrap.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993); for the seeds, which are
few, draws of one less than there are (Rao and Wu 1988), so that the variance comes out right.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
AT_ONCE = 100  # resamples, to save memory


class Errors(NamedTuple):
    """Means over examples and seeds, and standard errors, of each setting.

    `rise` is the loss above the best setting's, paired: by the same examples and seeds.
    """

    loss: Float[np.ndarray, " settings"]
    error: Float[np.ndarray, " settings"]
    rise: Float[np.ndarray, " settings"]
    rise_error: Float[np.ndarray, " settings"]


def errors(losses: Float[np.ndarray, "settings seeds examples"], seed: int = 0) -> Errors:
    """Return means and standard errors; a setting whose losses are not finite has NaN.

    Args:
      losses: validation loss of every example.
      seed: of the draws.
    """
    finite = np.isfinite(losses).all((1, 2))
    means = np.full(len(losses), np.nan)
    error, rise, rise_error = means.copy(), means.copy(), means.copy()
    if finite.any():
        right = losses[finite].astype(np.float64)
        means[finite] = right.mean((1, 2))
        best = int(np.argmin(means[finite]))
        drawn = resampled(right, np.random.default_rng(seed))
        error[finite] = drawn.std(0, ddof=1)
        rise[finite] = means[finite] - means[finite][best]
        rise_error[finite] = (drawn - drawn[:, [best]]).std(0, ddof=1)
    return Errors(means, error, rise, rise_error)


def resampled(
    losses: Float[np.ndarray, "settings seeds examples"], random: np.random.Generator
) -> Float[np.ndarray, "resamples settings"]:
    """Return the mean losses of RESAMPLES draws, with replacement, of examples and of seeds."""
    _, seeds, examples = losses.shape
    rows = []
    for _ in range(RESAMPLES // AT_ONCE):
        share = random.multinomial(examples, np.full(examples, 1 / examples), AT_ONCE) / examples
        times = max(seeds - 1, 1)
        of_seeds = random.multinomial(times, np.full(seeds, 1 / seeds), AT_ONCE) / times
        by_seed = np.tensordot(share, losses, (1, 2))  # [draws, settings, seeds]
        rows.append((by_seed * of_seeds[:, None]).sum(-1))
    return np.concatenate(rows)
