"""Test-time augmentation: one answer from several views of an image."""

from typing import Any

import numpy as np

from jaxft.evaluation.softmax import softmax

TTA_PHASE = 2**31 - 1  # the place in the key of views that belong to no phase


def combine(plain: Any, views: list[Any], method: str) -> np.ndarray:
    """Probabilities of test-time augmentation from those of the plain view and random ones.

    `fastai07`: the mean over the random views and the plain one repeated ceil(n/4) times (with 4
    views the plain one weighs 1/5). `fastai2`: 0.75 x the mean of the views' log-probabilities +
    0.25 x the plain one's, normalised. Source: `learn.TTA` of either version.
    """
    if method == "fastai07":
        repeats = -(-len(views) // 4)
        mean: np.ndarray = np.mean([*views, *[plain] * repeats], axis=0)
        return mean
    logs = [np.log(np.maximum(p, 1e-30)) for p in (plain, *views)]
    return softmax(0.75 * np.mean(logs[1:], axis=0) + 0.25 * logs[0])
