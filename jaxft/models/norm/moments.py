"""Mean and variance over the global batch, in one pass over memory and one collective."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.reduce import channel_sums


def batch_moments(
    x: Float[Array, "..."], shift: Float[Array, "*channels"], axis_name: str | None
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"]]:
    """Mean and biased variance over the global batch, in one pass and one collective.

    Taken of x - shift: with a shift near the mean, E[d^2] - E[d]^2 loses no digits.
    """
    d = kept_apart(x) - shift
    mean, square = global_means([d, jnp.square(d)], axis_name, shift.ndim)
    return shift + mean, jnp.maximum(square - jnp.square(mean), 0)


def global_means(terms: list[Array], axis_name: str | None, channel_axes: int = 1) -> Array:
    """Means of the terms over all axes but the channels, in one collective."""
    totals = jnp.stack(sums(terms, channel_axes))
    means = totals / (terms[0].size // totals[0].size)
    return means if axis_name is None else lax.pmean(means, axis_name)


def sums(terms: list[Array], channel_axes: int = 1) -> list[Array]:
    """Sums of the terms over all axes but the channels, in the platform's fastest form."""
    if platform.current().name == "cpu" and channel_axes == 1:
        return channel_sums(terms)
    return [jnp.sum(term, tuple(range(term.ndim - channel_axes))) for term in terms]


def kept_apart(arrays: Any) -> Any:
    """Put arrays behind a barrier on CPU, where XLA would store terms that several loops share.

    The compilers of TPU and GPU fuse each loop with what it needs; a barrier costs them a copy.
    """
    return lax.optimization_barrier(arrays) if platform.current().name == "cpu" else arrays


def widened(x: Array) -> Array:
    """Cast x to float32, unless it is float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
