"""The cached views of images: which there are, where their features lie, and the steps on them.

View 0 is the evaluation view, the others are augmented. Each is an entry of the feature cache by
itself, so that more views cost only those that are not there yet.
"""

from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxft.data import batches
from jaxft.data.feed import Feed, read_ahead
from jaxft.data.images.memory import spare_memory_bytes
from jaxft.devices import sharding
from jaxft.evaluation.metrics import View
from jaxft.features import cache
from jaxft.features.cache import Part, Rows
from jaxft.materials import reading
from jaxft.materials.reading import Materials, Runner
from jaxft.runtime import hosts
from jaxft.training import step
from jaxft.training.step import Sink, StepSpec, TrainBatch, TrainState, Weights, param_dtype

PHASE = 2**31 - 2  # the place in the keys of views that belong to no phase; evaluate.py has another


def body_features(
    materials: Materials, weights: Weights, which: str
) -> Float[np.ndarray, "examples features"]:
    """The body's features of a split (`train`, `valid`) by the evaluation view."""
    return cache.whole(view_features(materials, weights, which, 0))


def view_features(
    materials: Materials,
    weights: Weights,
    which: str,
    number: int,
    of: int = 1,
    mapped: bool = False,
) -> list[Part]:
    """The features of one view out of `of`, from the cache where it has them.

    What there is of it is a function of the settings, the examples and the number alone.
    """
    settings = materials.settings
    split = getattr(materials.dataset, which)
    images = materials.train_images if which == "train" else materials.valid_images
    what = f"features of {which}" + (f", view {number + 1} of {of}" if of > 1 else "")
    digest = cache.weights_digest(*sharding.fetch(weights))
    view = View(settings.data.views_seed, PHASE, number) if number else None
    compute = partial(
        reading.extract_parts,
        materials,
        weights,
        split,
        images,
        what,
        view,
        shares=batches.crop_shares(*view, len(split)) if view else None,
        part_examples=cache.part_examples(len(split), settings.data.batch_size),
    )
    parts, found = cache.cached(
        materials.cache_dir / "features",
        cache.key(split, digest, describe(materials, number)),
        len(split),
        lambda first: compute(first=first),
        mapped,
    )
    if found:
        rest = "" if found == len(split) else f" of {len(split)}"
        materials.console.say(f"{what}: {found}{rest} from the cache")
    return parts


def describe(materials: Materials, number: int) -> dict[str, Any]:
    """Settings that a view's numbers depend on besides weights and examples, as JSON data."""
    settings = materials.settings
    plain = {
        "model": settings.model.name,
        "dtype": settings.model.compute_dtype,
        "pooling": settings.model.pooling,
        "mean": materials.model.preprocessing.mean,
        "std": materials.model.preprocessing.std,
        "image_size": settings.data.image_size,
        "interpolation": settings.data.interpolation,
    }
    if number == 0:
        return plain
    drawn = {"number": number, "seed": settings.data.views_seed, **asdict(settings.augment)}
    return {**plain, "view": drawn}


def cached_runner(spec: StepSpec, materials: Materials, weights: Weights) -> Runner:
    """Steps on the cached views of the training images.

    These lie whole on every device where they fit into its share for them, and are streamed from
    mapped files otherwise, in the same order.
    """
    bytes_each = spec.model.feature_size * max(4, param_dtype(weights.params).itemsize)
    rows = spec.phase.views * spec.examples
    streamed = rows * bytes_each > min(hosts.gather(memory_bytes(materials)))
    parts = [
        part
        for number in range(spec.phase.views)
        for part in view_features(
            materials, weights, "train", number, spec.phase.views, mapped=streamed
        )
    ]
    if not streamed:
        return resident_runner(spec, materials, cache.whole(parts))
    size = rows * bytes_each / 2**30
    materials.console.say(f"cached features ({size:.3g} GiB) are streamed from disk")
    feed = partial(feature_feed, spec, materials, Rows(parts))
    return reading.FedRunner(step.make_step(spec, materials.mesh), spec, materials, feed)


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
    compiled: dict[int, step.Step] = {}

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
        order = batches.host_order(*where, spec.examples, balanced)
        return batches.host_rows(order, *where, spec.phase.views)

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
