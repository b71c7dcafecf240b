"""Batch normalisation over the global batch, with PyTorch's running statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.conv.parts import in_parts
from jaxft.models.reduce import channel_sums
from jaxft.models.varying import alike_varying

Pool = Callable[[Array], Array]
Running = tuple[Array, Array]  # share of the batch's statistics, and the running variance

# Where an activation ends: y = clip(z, low, high).
RANGES = {"none": (None, None), "relu": (0, None), "relu6": (0, 6)}


def activate(z: Array, activation: str) -> Array:
    """One of RANGES, the clipping that it names."""
    low, high = RANGES[activation]
    z = z if low is None else jnp.maximum(z, low)
    return z if high is None else jnp.minimum(z, high)


def passes(z: Array, activation: str) -> Array | bool:
    """Mask of where the activation's derivative is 1 (else 0)."""
    low, high = RANGES[activation]
    inside = True if low is None else z > low
    return inside if high is None else inside & (z < high)


def sums(terms: list[Array], channel_axes: int = 1) -> list[Array]:
    """The terms' sums over all but channels, as the platform's compiler is fastest with."""
    if platform.current().name == "cpu" and channel_axes == 1:
        return channel_sums(terms)
    return [jnp.sum(term, tuple(range(term.ndim - channel_axes))) for term in terms]


def kept_apart(arrays: Any) -> Any:
    """Arrays behind a barrier on CPU, where XLA would store what several loops compute from them.

    The compilers of TPU and GPU fuse each loop with what it needs; a barrier costs them a copy.
    """
    return lax.optimization_barrier(arrays) if platform.current().name == "cpu" else arrays


def widened(x: Array) -> Array:
    """x in float32, or in float64 where it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def global_means(terms: list[Array], axis_name: str | None, channel_axes: int = 1) -> Array:
    """The terms' means over everything but channels, in one collective."""
    totals = jnp.stack(sums(terms, channel_axes))
    means = totals / (terms[0].size // totals[0].size)
    return means if axis_name is None else lax.pmean(means, axis_name)


def batch_moments(
    x: Float[Array, "..."], shift: Float[Array, "*channels"], axis_name: str | None
) -> tuple[Float[Array, "*channels"], Float[Array, "*channels"]]:
    """Mean and biased variance over the global batch, in one pass and one collective.

    Taken of x - shift: with a shift near the mean, E[d^2] - E[d]^2 loses no digits.
    """
    d = kept_apart(x) - shift
    mean, square = global_means([d, jnp.square(d)], axis_name, shift.ndim)
    return shift + mean, jnp.maximum(square - jnp.square(mean), 0)


class Used(NamedTuple):
    """Statistics to normalise by, and what of them follows the batch.

    `share` of them is the batch's own, None for all; `offset` is their mean less the batch's.
    """

    mean: Array
    inverse: Array
    share: Array | None
    offset: Array | None

    def input_gradient(self, centred: Array, dz: Array, factor: Array, means: Array) -> Array:
        """Gradient of x, for dz that of scale * (x - mean) * inverse + bias.

        `centred` is x - mean; `means` those of dz and dz * centred over all but channels.
        """
        if self.share is None or self.offset is None:
            return factor * (dz - means[0] - centred * (jnp.square(self.inverse) * means[1]))
        means, centred = self.share * means, centred + self.offset
        return factor * (dz - means[0] - centred * (jnp.square(self.inverse) * means[1]))


def used(mean: Array, var: Array, shift: Array, running: Running | None, eps: float) -> Used:
    """The batch's statistics, or `running[0]` of them and the rest of the running ones."""
    if running is None:
        return Used(mean, lax.rsqrt(var + eps), None, None)
    share, running_var = running
    offset = (1 - share) * (shift - mean)
    blended = share * var + (1 - share) * running_var
    return Used(mean + offset, lax.rsqrt(blended + eps), share, offset)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def normalise(
    x: Float[Array, "..."],
    scale: Float[Array, "*channels"],
    bias: Float[Array, "*channels"],
    shift: Float[Array, "*channels"],
    running: Running | None,
    eps: float,
    activation: str,
    axis_name: str | None,
) -> tuple[Array, Array, Array]:
    """activation(scale * (x - mean) / sqrt(var + eps) + bias), mean and var, of the global batch.

    Channels are the last axis, or the last axes: as many as `scale` has. With `running` x is
    normalised by a blend with the running statistics (`used`), whose mean `shift` then is.

    The gradient is written by hand: it keeps x alone, recomputes the rest, and makes one pass for
    the two sums and one for dx, where automatic differentiation stores several arrays of x's size.
    Mean and var are for the running statistics and carry no gradient.
    """
    return _normalise_forward(x, scale, bias, shift, running, eps, activation, axis_name)[0]


def _normalise_forward(
    x: Array,
    scale: Array,
    bias: Array,
    shift: Array,
    running: Running | None,
    eps: float,
    activation: str,
    axis_name: str | None,
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    wide = widened(x)
    mean, var = batch_moments(wide, shift, axis_name)
    by = used(mean, var, shift, running, eps)
    y = activate((wide - by.mean) * (scale * by.inverse) + bias, activation).astype(x.dtype)
    return (y, mean, var), (x, scale, bias, by)


def _normalise_backward(
    eps: float,
    activation: str,
    axis_name: str | None,
    residuals: tuple[Any, ...],
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array, None, None]:
    x, scale, bias, by = residuals
    factor = scale * by.inverse

    def parts() -> tuple[Array, Array]:
        # Behind a barrier, so that each pass computes them for itself instead of storing them.
        here, dy = map(widened, kept_apart((x, cotangents[0])))
        centred = here - by.mean
        return centred, jnp.where(passes(centred * factor + bias, activation), dy, 0)

    centred, dz = parts()
    totals = jnp.stack(sums([dz, dz * centred], scale.ndim))
    means = totals / (x.size // scale.size)
    means = means if axis_name is None else lax.pmean(means, axis_name)
    dx = by.input_gradient(*parts(), factor, means)
    return dx.astype(x.dtype), totals[1] * by.inverse, totals[0], None, None


normalise.defvjp(_normalise_forward, _normalise_backward)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7, 8))
def normalise_pooled(
    x: Float[Array, "batch height width channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    shift: Float[Array, " channels"],
    running: Running | None,
    eps: float,
    activation: str,
    axis_name: str | None,
    pool: Pool,
) -> tuple[Array, Array, Array]:
    """Compute pool(y), mean and var of what `normalise` returns; `pool`, of maxima, comes first.

    Where x is largest, so is what grows with it. So only the pooled pixels are normalised, and the
    two sums of the gradient need no others: one pass over all pixels less each way. Channels whose
    scale is below 0 change their sign before they are pooled.
    """
    given = (running, eps, activation, axis_name, pool)
    return _pooled_forward(x, scale, bias, shift, *given)[0]


def _pooled_forward(
    x: Array,
    scale: Array,
    bias: Array,
    shift: Array,
    running: Running | None,
    eps: float,
    activation: str,
    axis_name: str | None,
    pool: Pool,
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    sign = jnp.where(scale < 0, -1, 1)
    rising = x * sign.astype(x.dtype)
    mean, var = batch_moments(widened(rising) * sign, shift, axis_name)
    by = used(mean, var, shift, running, eps)
    largest, transpose = jax.vjp(pool, rising)
    centred = widened(largest) * sign - by.mean
    y = activate(centred * (scale * by.inverse) + bias, activation).astype(x.dtype)
    return (y, mean, var), (rising, sign, largest, transpose, scale, bias, by)


def _pooled_backward(
    eps: float,
    activation: str,
    axis_name: str | None,
    pool: Pool,
    residuals: tuple[Any, ...],
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array, None, None]:
    rising, sign, largest, transpose, scale, bias, by = residuals
    factor = scale * by.inverse
    centred = widened(largest) * sign - by.mean
    dy = jnp.where(passes(centred * factor + bias, activation), cotangents[0], 0)
    dz = widened(dy)
    totals = jnp.stack(sums([dz, dz * centred]))
    means = totals / (rising.size // scale.size)
    means = means if axis_name is None else lax.pmean(means, axis_name)
    centred, dz = widened(rising) * sign - by.mean, widened(transpose(dy)[0])
    dx = by.input_gradient(centred, dz, factor, means)
    return dx.astype(rising.dtype), totals[1] * by.inverse, totals[0], None, None


normalise_pooled.defvjp(_pooled_forward, _pooled_backward)


class BatchNorm(nn.Module):
    """Batch normalisation and the activation after it, which shares its pass over memory.

    Running statistics follow flax's convention, running = momentum * running + (1 - momentum) *
    batch, and store the unbiased variance as PyTorch does. With `axis_name` the statistics are
    those of the global batch, and the running ones come out replicated. In training it sees the
    channels in so many `parts` (conv.parts), which changes no number. With a `pool`, of maxima, the
    output comes pooled; in training x is pooled before it is normalised (`normalise_pooled`).
    """

    eps: float = 1e-5
    momentum: float = 0.9
    activation: str = "none"
    parts: int = 1
    pool: Pool | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "... channels"],
        train: bool,
        axis_name: str | None = None,
        share: Float[Array, ""] | None = None,
    ) -> Float[Array, "... channels"]:
        """Normalises by the batch's statistics when `train`, else by the running ones.

        Computes in float32, or in float64 where x is. With a `share` it trains by so much of the
        batch's statistics, 0 to 1, and the running ones for the rest.
        """
        if self.has_variable("params", "offset"):  # all else is in the kernel, see fold.py
            offset: Array = self.get_variable("params", "offset")
            return self._pooled(activate(x + offset.astype(x.dtype), self.activation))
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train or self.is_initializing():
            factor = scale * lax.rsqrt(var.value + self.eps)
            y = activate(widened(x) * factor + (bias - mean.value * factor), self.activation)
            return self._pooled(y.astype(x.dtype))
        x, scale, bias = alike_varying(x, scale, bias)
        shift = lax.stop_gradient(mean.value).astype(widened(x).dtype)
        parts = 1 if self.pool else self.parts
        running = None
        if share is not None:
            running = share.astype(shift.dtype), in_parts(var.value.astype(shift.dtype), parts)
        given = (running, self.eps, self.activation, axis_name)
        if self.pool is not None:
            y, batch_mean, batch_var = normalise_pooled(x, scale, bias, shift, *given, self.pool)
        else:
            arrays = (in_parts(a, parts) for a in (x, scale, bias, shift))
            y, batch_mean, batch_var = normalise(*arrays, *given)
            y = y.reshape(x.shape)
        self._update(mean, batch_mean.reshape(shape))
        count = x.size // shape[0] * (1 if axis_name is None else lax.axis_size(axis_name))
        self._update(var, batch_var.reshape(shape) * (count / max(count - 1, 1)))
        return y

    def _pooled(self, y: Array) -> Array:
        return y if self.pool is None else self.pool(y)

    def _update(self, running: nn.Variable, batch: Array) -> None:
        """Moves a running statistic towards the batch's."""
        batch = lax.stop_gradient(batch).astype(running.value.dtype)
        running.value = self.momentum * running.value + (1 - self.momentum) * batch


Path = tuple[str, ...]


Context = nn.module.InterceptorContext


def _runs_batch_norm(context: Context) -> bool:
    """True where an intercepted method is BatchNorm's call."""
    return isinstance(context.module, BatchNorm) and context.method_name == "__call__"


@contextmanager
def blending(share: Float[Array, ""] | None) -> Iterator[None]:
    """Pass `share` to every BatchNorm that runs inside."""

    def give(call: Any, args: Any, kwargs: Any, context: Context) -> Any:
        more = {"share": share} if _runs_batch_norm(context) else {}
        return call(*args, **kwargs, **more)

    with nn.intercept_methods(give):
        yield


@contextmanager
def observing(axis_name: str | None = None) -> Iterator[dict[Path, dict[str, Array]]]:
    """Collect mean and biased variance of what every BatchNorm that runs inside is given.

    By the module's path, `{"mean": [channels], "var": [channels]}`, over the global batch. Nothing
    that the modules compute changes.
    """
    found: dict[Path, dict[str, Array]] = {}

    def look(call: Any, args: Any, kwargs: Any, context: Context) -> Any:
        module = context.module
        if _runs_batch_norm(context):
            shift: Array = module.get_variable("batch_stats", "mean")
            mean, var = batch_moments(widened(args[0]), shift, axis_name)
            found[module.path] = {"mean": mean, "var": var}
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        yield found
