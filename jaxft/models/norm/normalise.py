"""Normalisation by the global batch's statistics, with a gradient written by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.norm.activation import activate, passes
from jaxft.models.norm.blend import Running, used
from jaxft.models.norm.moments import batch_moments, kept_apart, sums, widened
from jaxft.models.norm.rule import Rule


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
    return _forward(x, scale, bias, shift, running, rule)[0]


def _forward(
    x: Array, scale: Array, bias: Array, shift: Array, running: Running | None, rule: Rule
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    wide = widened(x)
    mean, var = batch_moments(wide, shift, rule.axis_name)
    by = used(mean, var, shift, running, rule.eps)
    y = activate((wide - by.mean) * (scale * by.inverse) + bias, rule.activation).astype(x.dtype)
    return (y, mean, var), (x, scale, bias, by)


def _backward(
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


normalise.defvjp(_forward, _backward)
