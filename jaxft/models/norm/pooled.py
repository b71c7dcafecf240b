"""Normalisation after a pool of maxima, which leaves fewer pixels to normalise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.norm.activation import activate, passes
from jaxft.models.norm.blend import Running, used
from jaxft.models.norm.moments import batch_moments, sums, widened
from jaxft.models.norm.rule import Rule

Pool = Callable[[Array], Array]


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
    """Compute pool(y), mean and var of what `normalise` returns; `pool`, of maxima, comes first.

    Where x is largest, so is what grows with it. So only the pooled pixels are normalised, and the
    two sums of the gradient need no others: one pass over all pixels less each way. Channels whose
    scale is below 0 change their sign before they are pooled.
    """
    return _forward(x, scale, bias, shift, running, rule, pool)[0]


def _forward(
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


def _backward(
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


normalise_pooled.defvjp(_forward, _backward)
