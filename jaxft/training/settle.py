"""BatchNorm's statistics at the end of an epoch, measured with the weights as they are then.

The running statistics look back some ten steps. Where a body moves fast, in the middle of a cycle
or in epochs of few steps, they are those of another network: a model whose training loss is 0.4 may
validate at 6. So what validates, and is kept, has statistics of its own weights. Training is as it
was: its steps normalise by their own batch. Only while rebased statistics still give way to the
batch's do steps see them, in the same proportion as here.

Source: Wu and Johnson, Rethinking "Batch" in BatchNorm (2021), "PreciseBN".
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxft.devices import compiler, sharding
from jaxft.devices.sharding import AXIS
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe import groups
from jaxft.runtime.console import Console
from jaxft.training import step
from jaxft.training.rebase import pooled_over
from jaxft.training.spec import StepSpec
from jaxft.training.step import training_images
from jaxft.training.train_state import TrainBatch, TrainState, joined

MOST_BATCHES = 10

Settle = Callable[[TrainState, int], TrainState]


def make_settle(spec: StepSpec, materials: Materials, frozen: Weights) -> Settle:
    """Return the function (state, steps done) -> state with measured statistics.

    The batches are the phase's first ones, MOST_BATCHES at most, with its views. Where no BatchNorm
    of the body follows the batch, the state stays as it is. What the function returns depends on
    the state alone. It raises Interrupted where a stop was requested.
    """
    if not spec.training - {"head"}:
        return lambda state, _: state
    program = make_moments(spec, materials)
    count = min(MOST_BATCHES, spec.steps_per_epoch)
    quiet = materials._replace(console=Console(None))

    def settle(state: TrainState, done: int) -> TrainState:
        at = sharding.replicate(np.int32(done), materials.mesh)

        def moments(*given: Any) -> groups.Tree:
            found: groups.Tree = program(at, *given)
            return found

        weights = joined(frozen, state.weights)
        new = pooled_over(spec, quiet, weights, moments, count)
        share = step.batch_share(spec, jnp.int32(done))
        stats = settled(sharding.fetch(state.weights.batch_stats), new, share)
        return _with_statistics(state, sharding.replicate(stats, materials.mesh))

    return settle


def settled(old: groups.Tree, new: groups.Tree, share: Any) -> groups.Tree:
    """Statistics of the trained groups from those measured, the body's blended as in a step."""

    def blend(part: float, before: np.ndarray, measured: np.ndarray) -> np.ndarray:
        return np.asarray(part * measured + (1 - part) * before).astype(before.dtype)

    body = 1.0 if share is None else float(share)
    parts = {group: 1.0 if group == "head" else body for group in old}
    return {
        group: jax.tree.map(lambda *pair, part=parts[group]: blend(part, *pair), tree, new[group])
        for group, tree in old.items()
    }


def _with_statistics(state: TrainState, stats: groups.Tree) -> TrainState:
    if state.average is None:
        return state._replace(batch_stats=stats)
    return state._replace(average=state.average._replace(batch_stats=stats))


def make_moments(spec: StepSpec, materials: Materials) -> Any:
    """The jitted (step, weights, batch, number, seed) -> moments of `Model.moments` in a step."""

    def local(
        at: Array, weights: Weights, batch: TrainBatch, number: Array, seed: Array
    ) -> groups.Tree:
        keys = step.example_keys(spec, seed, number, batch.label.shape[0])
        images, _ = training_images(spec, batch, keys, param_dtype(weights.params))
        share = step.batch_share(spec, at)
        return spec.model.moments(
            weights.params,
            weights.batch_stats,
            images,
            AXIS,
            training=spec.training,
            keys=keys.dropout,
            share=share,
        )

    mapped = sharding.shard_map(
        local, materials.mesh, in_specs=(P(), P(), P(AXIS), P(), P()), out_specs=P()
    )
    return jax.jit(mapped, compiler_options=compiler.options(spec.deterministic))
