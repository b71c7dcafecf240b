"""Batch normalisation over the global batch, with PyTorch's running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

ACTIVATIONS = {
    "none": lambda y: y,
    "relu": lambda y: jnp.maximum(y, 0),
    "relu6": lambda y: jnp.clip(y, 0, 6),
}


def batch_moments(
    x: Float[Array, "... channels"], shift: Float[Array, "channels"], axis_name: str | None
) -> tuple[Float[Array, "channels"], Float[Array, "channels"]]:
    """Mean and biased variance over the global batch, in one pass and one collective.

    Taken of x - shift: with a shift near the mean, E[d^2] - E[d]^2 loses no digits.
    """
    d = x.astype(shift.dtype) - shift
    axes = tuple(range(x.ndim - 1))
    moments = jnp.stack([jnp.mean(d, axes), jnp.mean(jnp.square(d), axes)])
    if axis_name is not None:
        moments = lax.pmean(moments, axis_name)
    return shift + moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0)


class BatchNorm(nn.Module):
    """Batch normalisation and the activation after it, which shares its pass over memory.

    Running statistics follow flax's convention, running = momentum * running + (1 - momentum) *
    batch, and store the unbiased variance as PyTorch does. With `axis_name` the statistics are
    those of the global batch, and the running ones come out replicated.
    """

    eps: float = 1e-5
    momentum: float = 0.9
    activation: str = "none"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "... channels"],
        train: bool,
        axis_name: str | None = None,
    ) -> Float[Array, "... channels"]:
        """Normalises by the batch's statistics when `train`, else by the running ones."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        used_mean, used_var = mean.value, var.value
        if train and not self.is_initializing():
            shift = lax.stop_gradient(mean.value).astype(jnp.promote_types(x.dtype, jnp.float32))
            used_mean, used_var = batch_moments(x, shift, axis_name)
            self._update(mean, var, used_mean, used_var, x, axis_name)
        multiplier = scale * lax.rsqrt(used_var + self.eps)
        y = x * multiplier + (bias - used_mean * multiplier)
        return ACTIVATIONS[self.activation](y).astype(x.dtype)

    def _update(
        self,
        mean: nn.Variable,
        var: nn.Variable,
        batch_mean: Array,
        batch_var: Array,
        x: Array,
        axis_name: str | None,
    ) -> None:
        """Moves the running statistics towards the batch's."""
        count = x.size // x.shape[-1] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
        unbiased = batch_var * (count / max(count - 1, 1))
        keep = self.momentum
        mean.value = keep * mean.value + (1 - keep) * lax.stop_gradient(batch_mean)
        var.value = keep * var.value + (1 - keep) * lax.stop_gradient(unbiased)
