"""Inference on a mesh: a frozen body's features, a head's logits."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from jaxft.augment.augment import augment
from jaxft.augment.augmentation import Augmentation
from jaxft.augment.view import evaluate_view, network_input
from jaxft.data import Batch
from jaxft.data.order import epoch_key, position_keys
from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.features.forward import Forward
from jaxft.models.fold import fold
from jaxft.models.model import Model
from jaxft.models.variables import Weights, param_dtype
from jaxft.runtime import hosts


class View(NamedTuple):
    """A random view of every example of a split, as the numbers that its keys derive from."""

    seed: int
    phase: int
    number: int


def make_forward(
    model: Model,
    augmentation: Augmentation,
    image_size: int,
    mesh: Mesh,
    deterministic: bool = False,
) -> Forward:
    """Compile-on-first-use inference functions, shared by all phases.

    `deterministic`: as in compiler.options.
    """
    options = compiler.options(deterministic)

    def run_body(weights: Weights, view: Array) -> Array:
        images = network_input(view, model.preprocessing, param_dtype(weights.params))
        return model.features(weights.params, weights.batch_stats, images)[0]

    def features(weights: Weights, canvas: Array) -> Array:
        return run_body(weights, evaluate_view(canvas, image_size))

    def views(weights: Weights, canvas: Array, index: Array, *view: Array) -> Array:
        keys = position_keys(epoch_key(*view), index)
        return run_body(weights, augment(canvas, keys, augmentation, image_size))

    def groups(weights: Weights, canvas: Array) -> Array:
        view = evaluate_view(canvas, image_size)
        images = network_input(view, model.preprocessing, param_dtype(weights.params))
        found = model.group_features(weights.params, weights.batch_stats, images)
        return jnp.concatenate([found["early"], found["late"]], axis=1)

    def logits(weights: Weights, pooled: Array) -> Array:
        pooled = pooled.astype(param_dtype(weights.params))
        return model.classify(weights.params, weights.batch_stats, pooled)[0]

    def mapped(function: Callable[..., Array], *specs: P) -> Callable[..., Array]:
        divided = jax.shard_map(function, mesh=mesh, in_specs=(P(), *specs), out_specs=P(AXIS))
        return jax.jit(divided, compiler_options=options)

    return Forward(
        make_fold(model, mesh),
        mapped(features, P(AXIS)),
        mapped(views, P(AXIS), P(AXIS), P(), P(), P()),
        mapped(groups, P(AXIS)),
        mapped(logits, P(AXIS)),
    )


def make_fold(model: Model, mesh: Mesh) -> Callable[[Weights], Weights]:
    """Compile-on-first-use folding of the frozen groups that it is given."""
    folded = jax.jit(lambda weights: Weights(*fold(model.body, *weights)))
    if not sharding.places_kernels():
        return folded

    def laid_out(weights: Weights) -> Weights:
        found = folded(weights)
        placed: Weights = jax.device_put(found, sharding.whole(found, mesh))
        return placed

    return laid_out


def extract(
    forward: Forward,
    weights: Weights,
    source: Iterable[Batch],
    mesh: Mesh,
    view: View | None = None,
) -> Float[np.ndarray, "examples features"]:
    """Pooled features of every example, in order, without the padding.

    Args:
      forward: as from `make_forward`.
      weights: all groups, replicated.
      source: evaluation batches, each process's share.
      mesh: the mesh of `forward`.
      view: a random one; None = the evaluation view.
    """
    return np.concatenate(list(extract_parts(forward, weights, source, mesh, view)))


def extract_parts(
    forward: Forward,
    weights: Weights,
    source: Iterable[Batch],
    mesh: Mesh,
    view: View | None = None,
    part_batches: int | None = None,
) -> Iterator[Float[np.ndarray, "examples features"]]:
    """As `extract`, in parts of this many batches, the last shorter; None: in one part."""
    rows: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    pending: Array | None = None
    folded = forward.fold(weights)
    keyed = () if view is None else sharding.replicate(tuple(map(np.int32, view)), mesh)
    for batch in source:
        placed = sharding.split_batch((batch.image, batch.index), mesh)
        if view is None:
            features = forward.features(folded, placed[0])
        else:
            features = forward.views(folded, *placed, *keyed)
        if pending is not None:
            rows.append(sharding.fetch_rows(pending))
        if len(rows) == part_batches:
            yield _of_all_hosts(rows, masks)
            rows, masks = [], []
        pending = features
        masks.append(batch.mask)
    if pending is not None:
        rows.append(sharding.fetch_rows(pending))
        yield _of_all_hosts(rows, masks)


def _of_all_hosts(rows: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
    found: np.ndarray = hosts.gather_batches(rows)[hosts.gather_batches(masks)]
    return found
