"""Measures of one body: what a linear head makes of its features, its size, its speed."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.materials.extraction import body_features, eval_feed
from jaxft.materials.materials import Materials
from jaxft.materials.model import create_model
from jaxft.models.variables import Weights
from jaxft.training.probe import linear
from jaxft.training.probe.folder import Measured

SECONDS = 5.0  # of timed batches
MOST_BATCHES = 50
Operations = Callable[[Any], float]  # of a traced `jax.jit` function


def measured(materials: Materials, weights: Weights, operations: Operations | None) -> Measured:
    """Measure a body.

    Args:
      materials: with the body's model and images.
      weights: its own, on the host.
      operations: counts the floating-point operations of a traced function.

    Raises:
      UserError: its features are not finite.
      Interrupted: a stop was requested.
    """
    began, placed = time.perf_counter(), sharding.replicate(weights, materials.mesh)
    dataset = materials.dataset
    speed = images_per_second(materials, placed)
    train, valid = (body_features(materials, placed, which) for which in ("train", "valid"))
    if not (np.isfinite(train).all() and np.isfinite(valid).all()):
        raise UserError("its features are not finite")
    pairs = (train, dataset.train.labels), (valid, dataset.valid.labels)
    scores = linear.measure(*pairs, len(dataset.classes), materials.demand_going_on)
    body = [weights.params[group] for group in weights.params if group != "head"]
    facts = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(body)),
        "gflops": gigaflops(materials, weights, operations) if operations else None,
        "features": train.shape[1],
        "image_size": materials.image_size,
        "interpolation": materials.settings.data.interpolation,
        "strength": scores.strength,
        "images_per_second": speed,
        "seconds": time.perf_counter() - began,
    }
    return Measured(facts, scores.losses, scores.right)


def images_per_second(materials: Materials, weights: Weights) -> float:
    """Time the extraction of features from a batch on the devices; the fastest time counts.

    Other work on the machine only slows it. Neither compilation nor reading of images is in it.
    """
    with eval_feed(materials, materials.valid_images) as ready:
        batch = next(iter(ready))
    canvases = sharding.split_batch(batch.image, materials.mesh)
    folded = materials.forward.fold(weights)

    def seconds() -> float:
        materials.demand_going_on()
        begin = time.perf_counter()
        materials.forward.features(folded, canvases).block_until_ready()
        return time.perf_counter() - begin

    seconds()  # compiles
    times = [seconds()]
    while len(times) < MOST_BATCHES and sum(times) < SECONDS:
        times.append(seconds())
    return materials.settings.data.batch_size / min(times)


def gigaflops(materials: Materials, weights: Weights, operations: Operations) -> float:
    """Count the billions of operations of one image's features, however convolutions are lowered.

    Two operations are a multiply-add, as in `jaxft bench`.
    """
    settings, side = materials.settings, materials.image_size
    native = dataclasses.replace(settings.model, conv="native")
    plain = create_model(
        dataclasses.replace(settings, model=native), len(materials.dataset.classes)
    )
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    features = jax.jit(lambda given, view: plain.features(given.params, given.batch_stats, view)[0])
    return operations(features.trace(jax.eval_shape(lambda: weights), image)) / 1e9
