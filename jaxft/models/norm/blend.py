"""Blend of the batch's statistics with the running ones, and the gradient through it."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Running = tuple[Array, Array]  # share of the batch's statistics, and the running variance


class Used(NamedTuple):
    """Statistics to normalise by, and the part of them that follows the batch.

    A `share` of them is the batch's own, None for all; `offset` is their mean less the batch's.
    """

    mean: Array
    inverse: Array
    share: Array | None
    offset: Array | None

    def input_gradient(self, centred: Array, dz: Array, factor: Array, means: Array) -> Array:
        """Compute the gradient of x from dz, that of scale * (x - mean) * inverse + bias.

        `centred` is x - mean; `means` those of dz and dz * centred over all but channels.
        """
        if self.share is None or self.offset is None:
            return factor * (dz - means[0] - centred * (jnp.square(self.inverse) * means[1]))
        means, centred = self.share * means, centred + self.offset
        return factor * (dz - means[0] - centred * (jnp.square(self.inverse) * means[1]))


def used(mean: Array, var: Array, shift: Array, running: Running | None, eps: float) -> Used:
    """Blend the batch's statistics, by the share `running[0]`, with the running ones; or take all.

    With `running`, `shift` is the running mean.
    """
    if running is None:
        return Used(mean, lax.rsqrt(var + eps), None, None)
    share, running_var = running
    offset = (1 - share) * (shift - mean)
    blended = share * var + (1 - share) * running_var
    return Used(mean + offset, lax.rsqrt(blended + eps), share, offset)
