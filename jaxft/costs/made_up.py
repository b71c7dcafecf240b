"""Random input of a config's sizes, for programs that are timed without images."""

from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxft.data.images.sizing import canvas_size
from jaxft.devices import sharding
from jaxft.runtime import hosts
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainBatch


def canvases(batch_size: int, image_size: int) -> np.ndarray:
    """Return random pixels, this process's share of a batch."""
    side = canvas_size(image_size)
    shape = (batch_size // hosts.count(), side, side, 3)
    return np.random.default_rng(hosts.index()).integers(256, size=shape, dtype=np.uint8)


def labels(count: int, classes: int) -> np.ndarray:
    """Return random labels, the same in every process."""
    return np.random.default_rng(0).integers(classes, size=count).astype(np.int32)


def batch(batch_size: int, image_size: int, classes: int, mesh: Mesh) -> TrainBatch:
    """Return a batch of canvases and labels, divided over the mesh."""
    mine = sharding.my_rows(labels(batch_size, classes))
    divided: TrainBatch = sharding.split_batch(
        TrainBatch(canvases(batch_size, image_size), mine), mesh
    )
    return divided


def features(spec: StepSpec, classes: int, mesh: Mesh) -> tuple[Any, ...]:
    """Return features and labels of all training examples, whole on every device."""
    shape = (spec.phase.views * spec.examples, spec.model.feature_size)
    random = np.random.default_rng(0).standard_normal(shape, np.float32)
    placed: tuple[Any, ...] = sharding.replicate((random, labels(spec.examples, classes)), mesh)
    return placed
