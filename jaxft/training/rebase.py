"""BatchNorm's statistics measured on the training images, with the network's output unchanged.

A body comes with the statistics of the images that it was trained on. Other images have others, so
a network whose steps normalise by their own batch changes at once: the features that the head has
learned to read are gone. Therefore every BatchNorm of a body that is about to train gets the
statistics of its input here, and with them the scale and bias that leave its output as it was:

    scale (x - mean) / sqrt(var + eps) + bias

is the same function of x for the new mean and var if scale becomes scale * ratio, ratio =
sqrt(new var + eps) / sqrt(var + eps), and bias becomes bias + scale * (new mean - mean) /
sqrt(var + eps). The first batch then normalises as the network did before, except for the noise
of a batch, and training keeps all the benefits of BatchNorm.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.materials.materials import Materials
from jaxft.materials.seed import seed_of
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe import groups
from jaxft.recipe.finder.distance import BORDERS, DISTANCE_SIZE
from jaxft.recipe.finder.settings import AUTO
from jaxft.runtime import digests
from jaxft.runtime.ballot import Ballot
from jaxft.training import step
from jaxft.training.runners import train_feed
from jaxft.training.spec import StepSpec
from jaxft.training.step import training_images
from jaxft.training.train_state import TrainBatch

MOST_BATCHES = 25
AVERAGED_BATCHES = 100
DISTANCE_BATCHES = 10
EPS = 1e-3  # added to variances whose distributions are compared: some channels are always zero


class Rebased(NamedTuple):
    """Weights with the images' statistics, and how far the images are from those of before.

    `distance` is `away`, None where the phase's rate does not depend on it.
    """

    weights: Weights
    distance: float | None


def rebase(spec: StepSpec, materials: Materials, weights: Weights) -> Rebased:
    """Weights that compute what these do, with the statistics of the phase's first batches.

    The batches are an epoch's, MOST_BATCHES at most, of views as the phase draws them. Changes the
    groups `spec.rebased`, if any.

    Raises:
      Interrupted: a stop was requested.
    """
    if not spec.rebased:
        return Rebased(weights, None)
    moments_of = make_moments(spec, materials)
    moments = pooled_over(spec, materials, weights, moments_of, batches(spec))
    params, stats = map(dict, sharding.fetch(weights))
    nats = away(spec, materials, weights, moments) if by_distance(spec, materials) else None
    for group in spec.rebased:
        found = with_statistics(params[group], stats[group], moments[group], spec.model.body.eps)
        params[group], stats[group] = found
    materials.console.tell(
        "BatchNorm now has the training images' statistics; the network's output is unchanged"
    )
    return Rebased(Weights(*sharding.replicate((params, stats), materials.mesh)), nats)


def by_distance(spec: StepSpec, materials: Materials) -> bool:
    """Tell whether a phase's rate is found by how far its images are from those of before."""
    settings = materials.settings
    by_auto = spec.phase.lr == "find" and settings.finder.rule == AUTO
    known = settings.model.name in BORDERS
    return by_auto and known and settings.optimizer.name == "adamw" and bool(spec.rebased)


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
        count = min(DISTANCE_BATCHES, batches(spec))
        moments = pooled_over(spec, materials, weights, scaled, count)
    last = groups.deepest(spec.rebased)
    return distance({last: sharding.fetch(weights.batch_stats[last])}, moments)


def batches(spec: StepSpec) -> int:
    """Number of batches on which a phase's statistics are measured; 0 if none are."""
    return min(MOST_BATCHES, spec.steps_per_epoch) if spec.rebased else 0


def measure(spec: StepSpec, materials: Materials, weights: Weights) -> groups.Tree:
    """Mean and variance of the input of every BatchNorm of the body, in trees of float64."""
    return pooled_over(spec, materials, weights, make_moments(spec, materials), batches(spec))


def pooled_over(
    spec: StepSpec, materials: Materials, weights: Weights, moments: Any, count: int
) -> groups.Tree:
    """Pool what `moments`, as `make_moments` makes it, finds in a phase's first `count` batches.

    Raises:
      Interrupted: a stop was requested.
    """
    seed = seed_of(materials)
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


def make_moments(
    spec: StepSpec,
    materials: Materials,
    training: frozenset[str] = frozenset(),
    size: int | None = None,
) -> Any:
    """The jitted (weights, batch, number, seed, at=None) -> moments of `Model.moments`.

    The groups `training` normalise by the batch, the others by their running statistics. With `at`,
    the number of a step, rebased statistics have the part in it that they have there. With `size`,
    views are scaled to so many pixels.
    """

    def local(
        weights: Weights, batch: TrainBatch, number: Array, seed: Array, at: Array | None
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
            share=None if at is None else step.batch_share(spec, at),
        )

    def moments(
        weights: Weights, batch: TrainBatch, number: Array, seed: Array, at: Array | None = None
    ) -> groups.Tree:
        given = (weights, batch, number, seed, at)
        specs = (P(), P(AXIS), P(), P(), P())
        found: groups.Tree = sharding.shard_map(local, materials.mesh, specs, P())(*given)
        return found

    return jax.jit(moments, compiler_options=compiler.options(spec.deterministic))


def pooled(moments: list[groups.Tree]) -> groups.Tree:
    """Mean and variance over all batches, from each batch's, in trees of float64."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float64), *moments)

    def pool(tree: Any) -> Any:
        if "var" not in tree:
            return {name: pool(subtree) for name, subtree in tree.items()}
        mean, var = tree["mean"], tree["var"]
        return {"mean": mean.mean(0), "var": var.mean(0) + mean.var(0)}

    return {group: pool(tree) for group, tree in stacked.items()}


def distance(before: groups.Tree, now: groups.Tree) -> float:
    """Measure how far a body's inputs are from those that its statistics stand for.

    Returns:
      The divergence of the normal distributions with the statistics `now` from those with `before`,
      KL(now || before) in nats, mean over the channels of each layer and then over the layers.
    """
    had, has = digests.flat(before), digests.flat(now)
    layers = [name.removesuffix("mean") for name in had if name.endswith("mean")]
    return float(np.mean([_divergence(had, has, layer).mean() for layer in layers]))


def _divergence(
    had: Mapping[str, Any], has: Mapping[str, Any], layer: str
) -> Float[np.ndarray, " channels"]:
    var, other = (np.asarray(one[f"{layer}var"], np.float64) + EPS for one in (has, had))
    moved = np.asarray(has[f"{layer}mean"]) - np.asarray(had[f"{layer}mean"])
    nats: np.ndarray = ((var + moved**2) / other - 1 - np.log(var / other)) / 2
    return nats


def with_statistics(
    params: Mapping[str, Any], stats: Mapping[str, Any], new: Mapping[str, Any], eps: float
) -> tuple[groups.Tree, groups.Tree]:
    """Parameters and statistics of the same function with new statistics.

    Args:
      params: of a module and all modules below it.
      stats: of its BatchNorms, in the same places; kept if `new` has none.
      new: statistics to have instead.
      eps: BatchNorm's.
    """
    if "var" in new:
        return _renormalised(params, stats, new, eps)
    params, stats = dict(params), dict(stats)
    for name in new:
        params[name], stats[name] = with_statistics(params[name], stats[name], new[name], eps)
    return params, stats


def _renormalised(
    params: Mapping[str, Any], stats: Mapping[str, Any], new: Mapping[str, Any], eps: float
) -> tuple[groups.Tree, groups.Tree]:
    """As `with_statistics`, of one BatchNorm, in float64."""
    scale, bias, mean, var = (
        np.asarray(a, np.float64)
        for a in (params["scale"], params["bias"], stats["mean"], stats["var"])
    )
    factor = scale / np.sqrt(var + eps)
    found = {
        "scale": factor * np.sqrt(new["var"] + eps),
        "bias": bias + factor * (new["mean"] - mean),
    }
    dtype = params["scale"].dtype
    return (
        {name: value.astype(dtype) for name, value in found.items()},
        {name: np.asarray(new[name]).astype(stats[name].dtype) for name in ("mean", "var")},
    )


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
