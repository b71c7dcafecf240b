"""Metrics of a head on features of the validation split."""

import numpy as np
from jaxtyping import Float

from jaxft.evaluation import metrics
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights


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
