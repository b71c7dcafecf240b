"""Many heads in one program: `jax.vmap` of the train step itself, over settings and seeds.

All heads of one seed see the same batches and share the keys, and the hashes, of their dropout.
Several devices get a share of the heads each, and exchange nothing.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from jaxft.config.settings import Settings
from jaxft.devices import compiler, platform
from jaxft.devices.sharding import AXIS
from jaxft.models.head import Rate
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.training import step
from jaxft.training.spec import StepSpec, optimizer_of
from jaxft.training.train_state import TrainBatch, TrainState

HEADS = "heads"
CACHE_BYTES = 2**23  # of states that train at once on a CPU
BY_HEAD, BY_SEED_AND_HEAD = P(HEADS), P(None, HEADS)
NOTHING = Weights({}, {})  # the frozen groups, of which a head on cached features needs none


class Knobs(NamedTuple):
    """The numbers in which the heads of one program differ; each leaf begins with their axis."""

    rates: Float[Array | np.ndarray, "*heads steps"]
    weight_decay: Float[Array | np.ndarray, "*heads"]
    dropout: tuple[Rate, ...]
    smoothing: Float[Array | np.ndarray, "*heads"]


def knobs_of(tried: Sequence[Settings], spec: StepSpec) -> Knobs:
    """Collect the numbers of the heads with these settings, which differ in nothing else."""
    kind = jax.dtypes.canonicalize_dtype(float)
    steps = np.arange(spec.total_steps)

    def knobs(settings: Settings) -> Knobs:
        phase = settings.phases[spec.phase_index]
        rates = settings.model.dropout if settings.model.hidden else ()
        return Knobs(
            phase.rates(float(phase.lr), spec.steps_per_epoch)(steps).astype(kind),
            np.asarray(settings.optimizer.weight_decay, kind),
            tuple(map(Rate.of, rates)),
            np.asarray(settings.augment.label_smoothing, kind),
        )

    stacked: Knobs = jax.tree.map(lambda *leaves: np.stack(leaves), *map(knobs, tried))
    return stacked


def mesh_of_heads(mesh: Mesh) -> Mesh:
    """Return the same devices with the heads divided over them, and no batch."""
    kinds = (mesh.axis_types[0],) * 2
    return Mesh(mesh.devices.reshape(-1, 1), (HEADS, AXIS), axis_types=kinds)


class Programs(NamedTuple):
    """Compiled-on-first-use programs of as many heads as their arguments have.

    `start(heads [seeds], knobs)` -> states [seeds, heads]; `epoch(states, knobs, features, labels,
    seeds, first step)` -> (states, mean training losses [seeds, heads]), and donates the states;
    `score(states, features [batches, B, F], labels [batches, B])` -> (losses, right or not
    [batches, seeds, heads, B]).
    """

    start: Callable[..., TrainState]
    epoch: Callable[..., tuple[TrainState, Array]]
    score: Callable[..., tuple[Array, Array]]


def programs(spec: StepSpec, settings: Settings, mesh: Mesh) -> Programs:
    """Make the programs of heads whose step is `spec`'s, but for their knobs.

    Args:
      spec: of the sweep's phase, with the heads' hidden layers.
      settings: of any of the heads.
      mesh: as from `mesh_of_heads`.
    """

    def start(heads: Weights, knobs: Knobs) -> TrainState:
        def one(weights: Weights, knobs: Knobs) -> TrainState:
            return step.start(_turned(spec, settings, knobs), weights)[0]

        over_heads = jax.vmap(one, in_axes=(None, 0))
        return jax.vmap(over_heads, in_axes=(0, None))(heads, knobs)

    def epoch(
        states: TrainState, knobs: Knobs, features: Array, labels: Array, seeds: Array, first: Array
    ) -> tuple[TrainState, Array]:
        heads, size = knobs.smoothing.shape[0], state_bytes(states)

        def of_seed(of: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            drawn = step.draws(spec, labels, of[1], first, spec.steps_per_epoch)

            def of_head(of: tuple[TrainState, Knobs]) -> tuple[TrainState, Array]:
                own = _turned(spec, settings, of[1])

                def body(state: TrainState, drawn: Any) -> tuple[TrainState, Array]:
                    row, label, keys = drawn
                    batch, rates = TrainBatch(features[row], label), jnp.asarray(of[1].rates)
                    state, losses = step.local_step(own, state, NOTHING, batch, keys, rates)
                    return state, losses.mean()

                state, losses = lax.scan(body, of[0], drawn)
                return state, losses.mean()

            found: tuple[TrainState, Array] = _over(of_head, (of[0], knobs), heads, size)
            return found

        trained: tuple[TrainState, Array] = _over(
            of_seed, (states, seeds), len(seeds), heads * size
        )
        return trained

    return Programs(
        _mapped(start, spec, mesh, (P(), BY_HEAD), BY_SEED_AND_HEAD),
        _mapped(
            epoch,
            spec,
            mesh,
            (BY_SEED_AND_HEAD, BY_HEAD, P(), P(), P(), P()),
            (BY_SEED_AND_HEAD, BY_SEED_AND_HEAD),
            donated=0,
        ),
        _score(spec, mesh),
    )


def state_bytes(states: TrainState) -> int:
    """Return the bytes of one state of those [seeds, heads]."""
    return sum(leaf.nbytes // (leaf.shape[0] * leaf.shape[1]) for leaf in jax.tree.leaves(states))


def _over(function: Any, trees: Any, count: int, size: int) -> Any:
    """Map over the first axis, as many at once as pay.

    On an accelerator these are all. On a CPU they share its cache: states of more than CACHE_BYTES
    would go to memory and back in every step, so one group trains to the end of the epoch, then
    the next one.

    Args:
      function: of one element.
      trees: with the axis to map over.
      count: elements.
      size: bytes of the state of one.
    """
    at_once = count
    if platform.current().name == "cpu":
        at_once = max(1, min(count, CACHE_BYTES // size))
    if at_once == count:
        return jax.vmap(function)(trees)
    return lax.map(function, trees, batch_size=at_once if at_once > 1 else None)


def _score(spec: StepSpec, mesh: Mesh) -> Any:
    """Make the validation of all heads, batch by batch."""

    def score(states: TrainState, features: Array, labels: Array) -> tuple[Array, Array]:
        def of_batch(batch: tuple[Array, Array]) -> tuple[Array, Array]:
            def one(weights: Weights) -> tuple[Array, Array]:
                rows = batch[0].astype(param_dtype(weights.params))
                logits, _ = spec.model.classify(weights.params, weights.batch_stats, rows)
                return cross_entropy(logits, batch[1]), logits.argmax(-1) == batch[1]

            found: tuple[Array, Array] = jax.vmap(jax.vmap(one))(states.weights)
            return found

        scores: tuple[Array, Array] = lax.map(of_batch, (features, labels))
        return scores

    outputs = P(None, None, HEADS)
    return _mapped(score, spec, mesh, (BY_SEED_AND_HEAD, P(), P()), (outputs, outputs))


def _turned(spec: StepSpec, settings: Settings, knobs: Knobs) -> StepSpec:
    """Return the step of one head: `spec`'s with traced numbers in four places."""
    head = spec.model.head.clone(dropout=knobs.dropout)
    return dataclasses.replace(
        spec,
        model=dataclasses.replace(spec.model, head=head),
        optimizer=optimizer_of(settings, spec.phase, spec.examples, knobs.weight_decay),
        smoothing=knobs.smoothing,
    )


def _mapped(
    function: Any, spec: StepSpec, mesh: Mesh, places: Any, results: Any, donated: Any = ()
) -> Any:
    # No head knows of another: there is nothing to reduce that the check could find missing.
    mapped = jax.shard_map(function, mesh=mesh, in_specs=places, out_specs=results, check_vma=False)
    options = compiler.options(spec.deterministic)
    return jax.jit(mapped, donate_argnums=donated, compiler_options=options)


def place(tree: Any, mesh: Mesh, where: P = P()) -> Any:  # noqa: B008 (a constant)
    """Put arrays of the host on the mesh, whole or divided."""
    return jax.device_put(tree, NamedSharding(mesh, where))


def most_heads(spec: StepSpec, head: Weights, seeds: int, budget: int) -> int:
    """Return the number of settings, of so many seeds each, that one program may hold.

    A head takes its state, and as much again for gradients and directions; and its activations
    with their gradients, a few times the width of every layer for each example of a batch.

    Args:
      spec: of the phase.
      head: of one seed.
      seeds: number of heads that a setting has.
      budget: bytes.
    """
    shapes = jax.eval_shape(lambda weights: step.start(spec, weights)[0], head)
    sizes = [int(leaf.size * leaf.dtype.itemsize) for leaf in jax.tree.leaves(shapes)]
    widths = [int(shape.shape[0]) for shape in jax.tree.leaves(head.params) if shape.ndim == 1]
    activations = 4 * spec.batch_size * 4 * (spec.model.feature_size + sum(widths))
    return max(1, budget // (seeds * (2 * sum(sizes) + activations)))


def stacked(heads: Sequence[Weights]) -> Weights:
    """Join the heads of several seeds along a new first axis."""
    joined: Weights = jax.tree.map(lambda *leaves: np.stack(leaves), *heads)
    return joined


def batches(
    features: Float[np.ndarray, "examples features"], labels: np.ndarray, size: int
) -> tuple[Float[np.ndarray, "batches size features"], Int[np.ndarray, "batches size"]]:
    """Divide examples into batches; the last one is filled up with zeros."""
    short = -len(features) % size
    rows = np.pad(features, ((0, short), (0, 0)))
    return rows.reshape(-1, size, rows.shape[1]), np.pad(labels, (0, short)).reshape(-1, size)


def unbatched(found: Any, examples: int) -> np.ndarray:
    """Return scores [batches, seeds, heads, B] as [heads, seeds, examples]."""
    rows = np.moveaxis(np.asarray(jnp.asarray(found)), 0, 2)
    whole: np.ndarray = rows.reshape(*rows.shape[:2], -1)[..., :examples].swapaxes(0, 1)
    return whole
