"""Runners of steps on the body's cached features."""

from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxft.data.feed import Feed, read_ahead
from jaxft.data.order import host_order, host_rows
from jaxft.devices import sharding
from jaxft.features import cache
from jaxft.features.cache import Part, Rows
from jaxft.materials.extraction import view_features
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights, param_dtype
from jaxft.runtime import hosts
from jaxft.runtime.process import spare_memory_bytes
from jaxft.training import step
from jaxft.training.runners import FedRunner, Runner
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import Sink, Step, TrainBatch, TrainState


def cached_runner(spec: StepSpec, materials: Materials, weights: Weights) -> Runner:
    """Steps on the cached views of the training images.

    Every device holds all of them if they fit into `memory_bytes`; otherwise they are streamed
    from mapped files, in the same order.
    """
    size = features_bytes(spec, weights)
    streamed = size > min(hosts.gather(memory_bytes(materials)))
    parts = views_of(spec, materials, weights, mapped=streamed)
    if not streamed:
        return resident_runner(spec, materials, cache.whole(parts))
    materials.console.say(f"cached features ({size / 2**30:.3g} GiB) are streamed from disk")
    feed = partial(feature_feed, spec, materials, Rows(parts))
    return FedRunner(step.make_step(spec, materials.mesh), spec, materials, feed)


def features_bytes(spec: StepSpec, weights: Weights) -> int:
    """Bytes of a phase's cached features, all views of all examples."""
    bytes_each = spec.model.feature_size * max(4, int(param_dtype(weights.params).itemsize))
    return spec.phase.views * spec.examples * bytes_each


def views_of(
    spec: StepSpec, materials: Materials, weights: Weights, mapped: bool = False
) -> list[Part]:
    """The features of the training images that a phase's steps draw from, view after view."""
    count = spec.phase.views
    return [
        part
        for number in range(count)
        for part in view_features(materials, weights, "train", number, count, mapped=mapped)
    ]


def memory_bytes(materials: Materials) -> int:
    """Bytes that cached features may take of each device's memory."""
    given = materials.settings.data.cache_memory_gb
    if given >= 0:
        return int(given * 2**30)
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) // 2
    return spare_memory_bytes() // 2 // jax.local_device_count()


def resident_runner(
    spec: StepSpec, materials: Materials, found: Float[np.ndarray, "rows features"]
) -> Runner:
    """Steps on features that lie on every device, a whole epoch in one compiled scan."""
    held = sharding.replicate(found, materials.mesh)
    labels = sharding.replicate(materials.dataset.train.labels, materials.mesh)
    compiled: dict[int, Step] = {}

    def run(
        state: TrainState,
        frozen: Weights,
        rates: Any,
        seed: Any,
        first: int,
        steps: int,
        sink: Sink,
    ) -> tuple[TrainState, int, float]:
        done = 0
        while done < steps:
            left_in_epoch = spec.steps_per_epoch - (first + done) % spec.steps_per_epoch
            length = min(left_in_epoch, steps - done)
            if length not in compiled:
                compiled[length] = step.make_epoch(spec, materials.mesh, length)
            state, losses = compiled[length](state, frozen, held, labels, rates, seed)
            going_on = [
                sink(done + i, float(loss)) for i, loss in enumerate(sharding.fetch(losses))
            ]
            done += length
            if not all(going_on):
                break
        return state, done, 0.0

    return run


def feature_feed(
    spec: StepSpec, materials: Materials, found: Rows, first: int, steps: int
) -> Feed[TrainBatch]:
    """The features and labels of a phase's steps from `first` on, read ahead, on the mesh."""
    labels, seed = materials.dataset.train.labels, materials.settings.seed
    balanced = labels if spec.balance.kind == "sampling" else None

    @lru_cache(maxsize=1)
    def rows_of(epoch: int) -> np.ndarray:
        where = (seed, spec.phase_index, epoch)
        order = host_order(*where, spec.examples, balanced)
        return host_rows(order, *where, spec.phase.views)

    def make(number: int) -> TrainBatch:
        epoch, within = divmod(number, spec.steps_per_epoch)
        chosen = rows_of(epoch)[within * spec.batch_size : (within + 1) * spec.batch_size]
        mine = sharding.my_rows(chosen)
        return TrainBatch(found.take(mine), labels[mine % spec.examples])

    return read_ahead(
        make,
        range(first, first + steps),
        finish=lambda batch: sharding.split_batch(batch, materials.mesh),
    )
