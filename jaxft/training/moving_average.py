"""The moving average of the weights that train."""

import jax
import jax.numpy as jnp

from jaxft.models.variables import Weights
from jaxft.training.train_state import TrainState


def moved(decay: float, state: TrainState, weights: Weights) -> Weights | None:
    """The moving average after a step to these weights; None if none is kept.

    Its decay is lower in the first steps: (1 + t) / (10 + t) at most, as in TensorFlow's
    ExponentialMovingAverage, so that a phase's start does not linger.
    """
    if state.average is None:
        return None
    share = 1 - jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    average: Weights = jax.tree.map(
        lambda a, w: a + share.astype(a.dtype) * (w - a), state.average, weights
    )
    return average
