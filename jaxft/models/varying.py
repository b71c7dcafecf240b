"""Marks of arrays as varying over a mesh's axes, inside `shard_map`."""

import jax
from jax import lax
from jaxtyping import Array


def alike_varying(*arrays: Array) -> list[Array]:
    """Mark all arrays as varying over every axis over which one of them varies.

    A gradient written by hand then varies for each of them; the sum over devices that an unvarying
    argument needs comes from the gradient of the mark.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    axes = frozenset[str]().union(*varying)
    missing = [tuple(axes - v) for v in varying]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing, strict=True)]
