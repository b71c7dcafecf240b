"""Marks of arrays as varying over a mesh's axes, inside `shard_map`."""

from typing import Any

import jax
import numpy as np
from jax import lax
from jaxtyping import Array


def alike_varying(*arrays: Array | np.ndarray) -> list[Any]:
    """Mark all arrays as varying over every axis over which one of them varies.

    A gradient written by hand then varies for each of them; the sum over devices that an unvarying
    argument needs comes from the gradient of the mark.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    axes = frozenset[str]().union(*varying)
    missing = [tuple(axes - v) for v in varying]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing, strict=True)]
