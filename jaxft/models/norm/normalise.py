"""Normalisation by the global batch's statistics, with gradients written by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.norm.activation import activate, passes
from jaxft.models.reduce import channel_sums

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


Pool = Callable[[Array], Array]


class Rule(NamedTuple):
    """Static settings of a normalisation.

    `eps` is added to the variance, `activation` (one of RANGES) follows, `axis_name` is the mesh
    axis over which the statistics are shared.
    """

    eps: float
    activation: str
    axis_name: str | None


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def normalise(
    x: Float[Array, "..."],
    scale: Float[Array, "*channels"],
    bias: Float[Array, "*channels"],
    shift: Float[Array, "*channels"],
    running: Running | None,
    rule: Rule,
) -> tuple[Array, Array, Array]:
    """Compute activation(scale * (x - mean) / sqrt(var + eps) + bias), mean and var.

    Mean and var are those of the global batch. Channels are the last axis, or the last axes: as
    many as `scale` has. With `running` x is normalised by a blend with the running statistics
    (`used`), whose mean `shift` then is.

    The gradient is written by hand: it keeps x alone, recomputes the rest, and makes one pass for
    the two sums and one for dx, where automatic differentiation stores several arrays of x's size.
    Mean and var are for the running statistics and carry no gradient.
    """
    return _normalise_forward(x, scale, bias, shift, running, rule)[0]


def _normalise_forward(
    x: Array, scale: Array, bias: Array, shift: Array, running: Running | None, rule: Rule
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    wide = widened(x)
    mean, var = batch_moments(wide, shift, rule.axis_name)
    by = used(mean, var, shift, running, rule.eps)
    y = activate((wide - by.mean) * (scale * by.inverse) + bias, rule.activation).astype(x.dtype)
    return (y, mean, var), (x, scale, bias, by)


def _normalise_backward(
    rule: Rule, residuals: tuple[Any, ...], cotangents: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, None, None]:
    x, scale, bias, by = residuals
    factor = scale * by.inverse

    def parts() -> tuple[Array, Array]:
        # Behind a barrier, so that each pass computes them for itself instead of storing them.
        here, dy = map(widened, kept_apart((x, cotangents[0])))
        centred = here - by.mean
        return centred, jnp.where(passes(centred * factor + bias, rule.activation), dy, 0)

    centred, dz = parts()
    totals = jnp.stack(sums([dz, dz * centred], scale.ndim))
    means = totals / (x.size // scale.size)
    means = means if rule.axis_name is None else lax.pmean(means, rule.axis_name)
    dx = by.input_gradient(*parts(), factor, means)
    return dx.astype(x.dtype), totals[1] * by.inverse, totals[0], None, None


normalise.defvjp(_normalise_forward, _normalise_backward)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def normalise_pooled(
    x: Float[Array, "batch height width channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    shift: Float[Array, " channels"],
    running: Running | None,
    rule: Rule,
    pool: Pool,
) -> tuple[Array, Array, Array]:
    """Compute pool(y), mean and var, with y, mean and var those of `normalise`.

    `pool`, of maxima, comes first: y grows with x and is largest where x is. So only the pooled
    pixels are normalised, and the two sums of the gradient need no others: one pass over all pixels
    less each way. Channels whose scale is below 0 change their sign before they are pooled.
    """
    return _pooled_forward(x, scale, bias, shift, running, rule, pool)[0]


def _pooled_forward(
    x: Array,
    scale: Array,
    bias: Array,
    shift: Array,
    running: Running | None,
    rule: Rule,
    pool: Pool,
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    sign = jnp.where(scale < 0, -1, 1)
    rising = x * sign.astype(x.dtype)
    mean, var = batch_moments(widened(rising) * sign, shift, rule.axis_name)
    by = used(mean, var, shift, running, rule.eps)
    largest, transpose = jax.vjp(pool, rising)
    centred = widened(largest) * sign - by.mean
    y = activate(centred * (scale * by.inverse) + bias, rule.activation).astype(x.dtype)
    return (y, mean, var), (rising, sign, largest, transpose, scale, bias, by)


def _pooled_backward(
    rule: Rule,
    pool: Pool,
    residuals: tuple[Any, ...],
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array, None, None]:
    rising, sign, largest, transpose, scale, bias, by = residuals
    factor = scale * by.inverse
    centred = widened(largest) * sign - by.mean
    dy = jnp.where(passes(centred * factor + bias, rule.activation), cotangents[0], 0)
    dz = widened(dy)
    totals = jnp.stack(sums([dz, dz * centred]))
    means = totals / (rising.size // scale.size)
    means = means if rule.axis_name is None else lax.pmean(means, rule.axis_name)
    centred, dz = widened(rising) * sign - by.mean, widened(transpose(dy)[0])
    dx = by.input_gradient(centred, dz, factor, means)
    return dx.astype(rising.dtype), totals[1] * by.inverse, totals[0], None, None


normalise_pooled.defvjp(_pooled_forward, _pooled_backward)


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

    The compilers of TPU and GPU fuse each loop with its inputs; a barrier costs them a copy.
    """
    return lax.optimization_barrier(arrays) if platform.current().name == "cpu" else arrays


def widened(x: Array) -> Array:
    """Cast x to float32, unless it is float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
