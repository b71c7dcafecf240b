"""Images unlike any that a run was trained on: cosine distances to the training images' features.

Source: Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors (2022). The features
are the body's, pooled, by the evaluation view and the run's own weights; bench/unknown.py compares
them with other scores. Both splits' features are entries of the feature cache.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.data import Dataset
from jaxft.devices import sharding
from jaxft.features.cache import Part, whole
from jaxft.materials import extraction, reading
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights

NEIGHBOURS = 5  # the best mean AUROC of 1, 5, 10, 50
ROWS = 1024  # of training features at a time
MOST_USUAL = 2000  # validation images to compare with: a share needs no more

Distances = Float[np.ndarray, " examples"]


class Reference(NamedTuple):
    """Features of the training images, in parts, and the validation images' distances, rising."""

    known: Sequence[Part]
    usual: Distances


def reference(materials: Materials, dataset: Dataset, weights: Weights) -> Reference:
    """Features and distances of a run's own images, from the feature cache if it has them.

    Args:
      materials: for inference with the run's model.
      dataset: the run's own.
      weights: of the run.

    Raises:
      UserError: unreadable images.
    """
    data = replace(materials.settings.data, memory_gb=0.0)  # decoded once at most, by extraction
    settings = replace(materials.settings, data=data)
    found = reading.read_images(
        settings, materials.image_size, dataset, materials.console, materials.cache_dir,
        advice=reading.REMOVE,
    )  # fmt: skip
    dataset, train_images, valid_images = found
    own = materials._replace(dataset=dataset, train_images=train_images, valid_images=valid_images)
    placed = sharding.replicate(weights, materials.mesh)
    known = extraction.view_features(own, placed, "train", 0, mapped=True)
    valid = whole(extraction.view_features(own, placed, "valid", 0, mapped=True))
    usual = distances(valid[:: -(-len(valid) // MOST_USUAL)], known)
    return Reference(known, np.sort(usual))


def distances(features: Float[np.ndarray, "examples features"], known: Sequence[Part]) -> Distances:
    """Cosine distance, from 0 to 2, to the training image that is NEIGHBOURS-th nearest."""
    nearest = np.full((len(features), 0), 0.0)
    unit = _unit(features)
    for part in known:
        for first in range(0, len(part), ROWS):
            apart = 1 - unit @ _unit(part[first : first + ROWS]).T
            nearest = np.sort(np.concatenate([nearest, apart], 1), axis=1)[:, :NEIGHBOURS]
    found: np.ndarray = np.maximum(nearest[:, -1], 0)
    return found


def share_farther(found: Distances, usual: Float[np.ndarray, " images"]) -> Distances:
    """Share of the validation images, and the image itself, that lie as far away or farther.

    A conformal p-value: if an image is of the same kind as the validation images, it is below p
    with a probability of about p. Source: Vovk et al., Algorithmic Learning in a Random World.
    """
    farther = len(usual) - np.searchsorted(usual, found, side="left")
    return (farther + 1) / (len(usual) + 1)


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays what it is."""
    rows = np.asarray(features, np.float32)
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
