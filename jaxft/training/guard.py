"""Numbers that are not finite: a step that they do not change, a checkpoint without them."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxft.devices import sharding
from jaxft.errors import NonFiniteError
from jaxft.models.variables import Weights
from jaxft.training.train_state import TrainState


def skipping(
    before: TrainState, after: TrainState, losses: Float[Array, " batch"], grads: Any
) -> tuple[TrainState, Float[Array, " batch"]]:
    """Return the state after a step, or before it where the step's numbers are not all finite.

    Those are the batch's loss, the gradients, and what they would make of parameters and
    statistics. Runs inside `shard_map` over `data`; every device decides alike.

    Args:
      before, after: the step; its number counts on in any case.
      losses: of this device's examples.
      grads: averaged over the devices.

    Returns:
      The state, and the losses; all of them NaN where the step was skipped.
    """
    loss = sharding.mean(losses.mean())
    # A barrier: else XLA makes one program of the update and of all that is looked at.
    loss, grads, after = lax.optimization_barrier((loss, grads, after))
    healthy = all_finite((loss, grads, after.params, after.batch_stats))
    kept: TrainState = jax.tree.map(lambda new, old: jnp.where(healthy, new, old), after, before)
    return kept._replace(step=after.step), jnp.where(healthy, losses, jnp.nan)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Tell whether all numbers of a tree are finite.

    The largest of each leaf is looked at, NaN being the largest: a question for every number, leaf
    by leaf, takes XLA half as long again to compile.
    """
    largest = [jnp.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(tree)]
    return jnp.isfinite(jnp.stack(largest)).all()


def demand_finite(weights: Weights, groups: Collection[str], steps: int) -> None:
    """Raise NonFiniteError where weights to be saved, on the host, are not finite.

    Args:
      weights: of all groups.
      groups: those that train.
      steps: that the phase has done. The loss of the last one was finite still.
    """
    sick = [
        group
        for group in groups
        if not all(
            np.isfinite(leaf).all()
            for tree in weights
            for leaf in jax.tree.leaves(tree.get(group, {}))
        )
    ]
    if sick:
        told = f"the weights of {' and '.join(sick)} are not finite after step {steps - 1}"
        raise NonFiniteError(f"{told} of the phase", step=steps - 1)
