"""Metrics of weights on a run's validation split."""

import numpy as np
from jaxtyping import Float

from jaxft.evaluation import metrics
from jaxft.materials.extraction import extract
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights


def evaluate_weights(
    materials: Materials, weights: Weights, valid_features: np.ndarray | None = None
) -> metrics.Evaluation:
    """Metrics on the validation split; `valid_features` where the body has not changed."""
    if valid_features is None:
        valid_features = extract(materials, weights, materials.valid_images, "validating")
    return score(materials, weights, valid_features)


def score(
    materials: Materials, weights: Weights, found: Float[np.ndarray, "examples features"]
) -> metrics.Evaluation:
    """Metrics of the head on features of the validation split."""
    return metrics.score(
        materials.forward,
        weights,
        found,
        materials.dataset.valid.labels,
        materials.settings.data.batch_size,
        materials.mesh,
    )
