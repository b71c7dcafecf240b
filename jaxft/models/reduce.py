"""Sums of several arrays at once, in one pass over memory.

XLA CPU stores every array that two reductions share before it reduces it. A reduction of several
operands is one loop, which computes the shared array once and stores none of it.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Few enough rows for the lines that 16 neighbouring channels share to stay in the L1 cache.
ROWS = 32


def sum_together(arrays: Sequence[Array], axes: tuple[int, ...]) -> list[Array]:
    """Sum arrays of one shape over the same axes, in one loop."""
    zeros = [jnp.zeros((), a.dtype) for a in arrays]
    sums = lax.reduce(
        list(arrays), zeros, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], axes
    )
    return list(sums)


def channel_sums(arrays: Sequence[Float[Array, "... channels"]]) -> list[Array]:
    """Sum arrays over all axes but the last, on a CPU: by ROWS rows, then those sums."""
    channels = arrays[0].shape[-1]
    count = arrays[0].size // channels
    if arrays[0].ndim == 2:
        # A row an example: products with ones read what vectorised loops have stored, and a
        # third of a head's step is saved that a column-wise reduction spends on dropout's hash.
        ones = jnp.ones((1, count), arrays[0].dtype)
        return [(ones @ a)[0] for a in arrays]
    rows = math.gcd(count, ROWS)
    partial = sum_together([a.reshape(count // rows, rows, channels) for a in arrays], (1,))
    return [jnp.sum(p, 0) for p in lax.optimization_barrier(partial)]
