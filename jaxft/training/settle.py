"""BatchNorm's statistics at an epoch's end: those of the weights that validate.

The running statistics look back some ten steps. Where a body moves fast, in the middle of a cycle
or in epochs of few steps, they are those of another network, and a model whose training loss is 0.4
may validate at 6. So what validates, and is kept, has statistics that were measured with its own
weights.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxft.devices import sharding
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.recipe import groups
from jaxft.runtime.console import Console
from jaxft.training import step
from jaxft.training.rebase import make_moments, pooled_over
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import Settle, TrainState, joined

SETTLED_BATCHES = 10
SETTLED_IMAGES = 1000  # at a cycle's end, where these are more


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


def make_settle(spec: StepSpec, materials: Materials, frozen: Weights) -> Settle:
    """Return the function (state, steps done) -> state with statistics measured at its weights.

    The batches are the phase's first ones, `settling_batches`, with its views. The state stays as
    it is where no BatchNorm of the body follows the batch. Training goes on as it would: its
    steps normalise by their own batch, and while rebased statistics still give way to the batch's,
    what is measured here is blended with them in the same proportion. The result depends on the
    state alone. The function raises Interrupted where a stop was requested.

    Source: Wu and Johnson, Rethinking "Batch" in BatchNorm (2021), "PreciseBN".
    """
    if not settling_batches(spec, 1):
        return lambda state, _: state
    moments = make_moments(spec, materials, spec.training)
    quiet = materials._replace(console=Console(None))

    def settle(state: TrainState, done: int) -> TrainState:
        at = sharding.replicate(jnp.int32(done), materials.mesh)
        count = settling_batches(spec, done // spec.steps_per_epoch)
        weights = joined(frozen, state.weights)
        new = pooled_over(spec, quiet, weights, partial(moments, at=at), count)
        share = step.batch_share(spec, at)
        old = sharding.fetch(state.weights.batch_stats)
        stats = settled(old, new, 1.0 if share is None else float(share))
        return _with_measured(state, sharding.replicate(stats, materials.mesh))

    return settle


def settled(old: groups.Tree, new: groups.Tree, share: float) -> groups.Tree:
    """Statistics of the trained groups: of the body a share of those measured, of the head all.

    Args:
      old: as the state has them.
      new: mean and variance by the same paths; may have other groups, too.
      share: of the measured ones, 0 to 1; the rest stays.
    """

    def blend(part: float, before: np.ndarray, measured: np.ndarray) -> np.ndarray:
        return np.asarray(part * measured + (1 - part) * before).astype(before.dtype)

    return {
        group: jax.tree.map(partial(blend, 1.0 if group == "head" else share), tree, new[group])
        for group, tree in old.items()
    }


def _with_measured(state: TrainState, stats: groups.Tree) -> TrainState:
    if state.average is None:
        return state._replace(batch_stats=stats)
    return state._replace(average=state.average._replace(batch_stats=stats))
