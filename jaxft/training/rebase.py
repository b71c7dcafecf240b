"""BatchNorm's statistics measured on the training images, with the network's output unchanged.

A body comes with the statistics of the images that it was trained on. Other images have others, so
a network whose steps normalise by their own batch changes at once: the features that the head has
learned to read are gone. Therefore every BatchNorm of a body that is about to train gets the
statistics of its input here, and with them the scale and bias that leave its output as it was
(statistics.py). The first batch then normalises as the network did before, except for the noise of
a batch, and training keeps all the benefits of BatchNorm.

The end of an epoch has the same trouble the other way round. The running statistics look back some
ten steps. Where a body moves fast, in the middle of a cycle or in epochs of few steps, they are
those of another network, and a model whose training loss is 0.4 may validate at 6. So what
validates, and is kept, has statistics that were measured with its own weights (`make_settle`).
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxft.config.settings import Settings
from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe import groups
from jaxft.recipe.finder.distance import BORDERS, DISTANCE_SIZE
from jaxft.recipe.finder.settings import AUTO
from jaxft.runtime.ballot import Ballot
from jaxft.runtime.console import Console
from jaxft.training import step
from jaxft.training.runners import train_feed
from jaxft.training.spec import StepSpec
from jaxft.training.statistics import distance, pooled, settled, with_statistics
from jaxft.training.step import training_images
from jaxft.training.train_state import Settle, TrainBatch, TrainState, joined

MOST_BATCHES = 25
DISTANCE_BATCHES = 10
SETTLED_BATCHES = 10
SETTLED_IMAGES = 1000  # at a cycle's end, where these are more
AVERAGED_BATCHES = 100

Moments = Callable[..., groups.Tree]  # as from make_moments


class Rebased(NamedTuple):
    """Weights with the images' statistics, and how far the images are from those of before.

    `distance` is `away`, None where the phase's rate does not depend on it.
    """

    weights: Weights
    distance: float | None


def rebase(
    spec: StepSpec, materials: Materials, weights: Weights, moments_of: Moments | None = None
) -> Rebased:
    """Weights that compute what these do, with the statistics of the phase's first batches.

    The batches are an epoch's, MOST_BATCHES at most, of views as the phase draws them. Changes the
    groups `spec.rebased`, if any.

    Args:
      spec, materials, weights: of the phase.
      moments_of: as `phase_moments` makes it; None: made here.

    Raises:
      Interrupted: a stop was requested.
    """
    if not spec.rebased:
        return Rebased(weights, None)
    moments = measure(spec, materials, weights, moments_of)
    params, stats = map(dict, sharding.fetch(weights))
    nats = None
    if by_distance(spec, materials.settings):
        nats = away(spec, materials, weights, moments)
    for group in spec.rebased:
        found = with_statistics(params[group], stats[group], moments[group], spec.model.body.eps)
        params[group], stats[group] = found
    materials.console.tell(
        "BatchNorm now has the training images' statistics; the network's output is unchanged"
    )
    return Rebased(Weights(*sharding.replicate((params, stats), materials.mesh)), nats)


def by_distance(spec: StepSpec, settings: Settings) -> bool:
    """Tell whether a phase's rate is found by how far its images are from those of before.

    It is so where the borders have been measured: for the first phase that trains a known body.
    """
    by_auto = spec.phase.lr == "find" and settings.finder.rule == AUTO
    known = settings.model.name in BORDERS and settings.optimizer.name == "adamw"
    first = not any(phase.trains_body for phase in settings.phases[: spec.phase_index])
    return by_auto and known and first and bool(spec.rebased)


def away(
    spec: StepSpec, materials: Materials, weights: Weights, moments: groups.Tree | None = None
) -> float:
    """Measure how far the phase's images are from those that the body's statistics stand for.

    It is the distance of the last group's layers, which tell what images show; early ones tell of
    contrast and sharpness. Views are scaled to one size, since all layers depend on that.

    Args:
      spec, materials, weights: of the phase, before `rebase`.
      moments: as measured on the phase's views, if they were.
    """
    if moments is None or spec.image_size != DISTANCE_SIZE:
        scaled = make_moments(spec, materials, size=DISTANCE_SIZE)
        moments = pooled_over(spec, materials, weights, scaled, distance_batches(spec))
    last = groups.deepest(spec.rebased)
    return distance({last: sharding.fetch(weights.batch_stats[last])}, moments)


def distance_batches(spec: StepSpec) -> int:
    """Number of batches on which `away` measures, where it does not take those of `rebase`."""
    return min(DISTANCE_BATCHES, batches(spec))


def batches(spec: StepSpec) -> int:
    """Number of batches on which a phase's statistics are measured; 0 if none are."""
    return min(MOST_BATCHES, spec.steps_per_epoch) if spec.rebased else 0


def measure(
    spec: StepSpec, materials: Materials, weights: Weights, moments_of: Moments | None = None
) -> groups.Tree:
    """Mean and variance of the input of every BatchNorm that trains, in trees of float64.

    The body normalises by its running statistics.
    """
    none = sharding.replicate(jnp.float32(0), materials.mesh)
    running = partial(moments_of or phase_moments(spec, materials), share=none)
    return pooled_over(spec, materials, weights, running, batches(spec))


def pooled_over(
    spec: StepSpec, materials: Materials, weights: Weights, moments: Moments, count: int
) -> groups.Tree:
    """Pool what `moments`, as `make_moments` makes it, finds in a phase's first `count` batches.

    Raises:
      Interrupted: a stop was requested.
    """
    seed = materials.seed()
    ballot, found = Ballot(materials.stop), []
    with (
        materials.console.bar(count, "measuring BatchNorm's statistics", "step") as bar,
        train_feed(spec, materials, 0, count) as feed,
    ):
        for index, batch in zip(range(count), feed, strict=True):
            if ballot():
                materials.demand_going_on()
            number = sharding.replicate(np.int32(index), materials.mesh)
            found.append(sharding.fetch(moments(weights, batch, number, seed)))
            bar.update()
    return pooled(found)


def phase_moments(spec: StepSpec, materials: Materials) -> Moments:
    """Make the one program of a phase that measures statistics, before it and at its epochs' ends.

    Running statistics are a share of 0 of the batch's; a second program would compile for as long.
    """
    return make_moments(spec, materials, spec.training)


def make_moments(
    spec: StepSpec,
    materials: Materials,
    training: frozenset[str] = frozenset(),
    size: int | None = None,
) -> Moments:
    """Return the jitted (weights, batch, number, seed, share=None) -> moments of `Model.moments`.

    The groups `training` normalise by the batch, the others by their running statistics; with a
    `share`, they do so by that share of the batch's. With `size`, views are scaled to so many
    pixels.
    """

    def local(
        weights: Weights, batch: TrainBatch, number: Array, seed: Array, share: Array | None
    ) -> groups.Tree:
        keys = step.example_keys(spec, seed, number, batch.label.shape[0])
        images, _ = training_images(spec, batch, keys, param_dtype(weights.params))
        if size is not None:
            images = jax.image.resize(images, (len(images), size, size, 3), "linear")
        return spec.model.moments(
            weights.params,
            weights.batch_stats,
            images,
            AXIS,
            training=training,
            keys=keys.dropout,
            share=share,
        )

    def moments(
        weights: Weights, batch: TrainBatch, number: Array, seed: Array, share: Array | None = None
    ) -> groups.Tree:
        given = (weights, batch, number, seed, share)
        specs = (P(), P(AXIS), P(), P(), P())
        found: groups.Tree = sharding.shard_map(local, materials.mesh, specs, P())(*given)
        return found

    return jax.jit(moments, compiler_options=compiler.options(spec.deterministic))


def settling_batches(spec: StepSpec, epochs: int) -> int:
    """Number of batches on which statistics are measured after so many epochs of a phase.

    Weights that are kept are mostly those at a cycle's end: on a few hundred images of many
    classes their validation loss is some percent higher than on a thousand.
    """
    if not spec.training - {"head"}:
        return 0
    count = SETTLED_BATCHES
    if epochs in np.cumsum(spec.phase.cycle_lengths):
        count = max(count, math.ceil(SETTLED_IMAGES / spec.batch_size))
    return min(count, spec.steps_per_epoch)


def make_settle(
    spec: StepSpec, materials: Materials, frozen: Weights, moments_of: Moments | None = None
) -> Settle:
    """Return the function (state, steps done) -> state with statistics measured at its weights.

    The batches are the phase's first ones, `settling_batches`, with its views. The state stays as
    it is where no BatchNorm of the body follows the batch. Training goes on as it would: its
    steps normalise by their own batch, and while rebased statistics still give way to the batch's,
    what is measured here is blended with them in the same proportion. The result depends on the
    state alone. The function raises Interrupted where a stop was requested. `moments_of` is as
    `phase_moments` makes it; None: made here.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm (2021), "PreciseBN".
    """
    if not settling_batches(spec, 1):
        return lambda state, _: state
    moments = moments_of or phase_moments(spec, materials)
    quiet = materials._replace(console=Console(None))

    def settle(state: TrainState, done: int) -> TrainState:
        count = settling_batches(spec, done // spec.steps_per_epoch)
        weights, share = joined(frozen, state.weights), None
        if spec.rebased:
            share = step.batch_share(spec, jnp.int32(done))
            share = sharding.replicate(jnp.float32(1) if share is None else share, materials.mesh)
        new = pooled_over(spec, quiet, weights, partial(moments, share=share), count)
        old = sharding.fetch(state.weights.batch_stats)
        stats = settled(old, new, 1.0 if share is None else float(share))
        return _with_measured(state, sharding.replicate(stats, materials.mesh))

    return settle


def _with_measured(state: TrainState, stats: groups.Tree) -> TrainState:
    if state.average is None:
        return state._replace(batch_stats=stats)
    return state._replace(average=state.average._replace(batch_stats=stats))


def make_measured(
    spec: StepSpec, materials: Materials, training: Collection[str]
) -> Callable[[Weights], Weights]:
    """Return the function that gives weights on the host the statistics of training batches.

    It is for weights that no step has trained, such as an average of others: they make other
    activations than any of those, so that the average of the running statistics is not theirs.
    The batches are the first of an epoch, AVERAGED_BATCHES at most, as the phase draws them,
    dropout included. The groups `training` normalise by the batch, as in a step, and get its
    moments; the others keep what they have. It compiles once, however many weights it is given.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization
    (2018).
    """
    moments = make_moments(spec, materials, frozenset(training))
    count = min(AVERAGED_BATCHES, spec.steps_per_epoch)

    def measured(weights: Weights) -> Weights:
        if not jax.tree.leaves([weights.batch_stats[group] for group in training]):
            return weights
        on_mesh = sharding.replicate(weights, materials.mesh)
        new = pooled_over(spec, materials, on_mesh, moments, count)
        stats = {
            group: jax.tree.map(_as_before, old, new[group]) if group in training else old
            for group, old in weights.batch_stats.items()
        }
        return Weights(weights.params, stats)

    return measured


def _as_before(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.asarray(new).astype(old.dtype)
