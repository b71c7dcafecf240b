"""Batch normalisation over the global batch, with PyTorch's running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.conv.parts import in_parts
from jaxft.models.norm.activation import activate
from jaxft.models.norm.normalise import (
    Pool,
    Rule,
    batch_moments,
    normalise,
    normalise_pooled,
    widened,
)
from jaxft.models.varying import alike_varying

Path = tuple[str, ...]
Context = nn.module.InterceptorContext


class BatchNorm(nn.Module):
    """Batch normalisation and the activation after it, which shares its pass over memory.

    Running statistics follow flax's convention, running = momentum * running + (1 - momentum) *
    batch, and store the unbiased variance as PyTorch does. With `axis_name` the statistics are
    those of the global batch, and the running ones come out replicated. In training it splits the
    channels into `parts` (conv/parts.py), which changes no number. With a `pool`, of maxima, the
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
        """Normalise by the batch's statistics when `train`, else by the running ones.

        Computes in float32, or in float64 where x is. In training a `share`, 0 to 1, of the
        statistics is the batch's and the rest the running ones; None means 1.
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
        given = (running, Rule(self.eps, self.activation, axis_name))
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

    def _update(self, running: nn.Variable[Array], batch: Array) -> None:
        """Move a running statistic towards the batch's."""
        batch = lax.stop_gradient(batch).astype(running.value.dtype)
        running.value = self.momentum * running.value + (1 - self.momentum) * batch


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
    """Collect mean and biased variance of the input of every BatchNorm that runs inside.

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


def _runs_batch_norm(context: Context) -> bool:
    """Return true where an intercepted method is BatchNorm's call."""
    return isinstance(context.module, BatchNorm) and context.method_name == "__call__"
