"""Every BatchNorm that runs inside a block of code: given a share, or observed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jaxft.models.norm.layer import BatchNorm
from jaxft.models.norm.moments import batch_moments, widened

Path = tuple[str, ...]
Context = nn.module.InterceptorContext


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
