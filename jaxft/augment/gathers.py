"""`warp` by gathers, for CPU and GPU."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from jaxft.augment.maps import positions, tap


def by_gathers(
    canvas: UInt8[Array, "batch side side 3"], maps: Float[Array, "batch rows 3"], image_size: int
) -> Float[Array, "batch size size 3"]:
    """`warp` with two gathers of two neighbours each.

    The three colours travel in one 32-bit word. On CPU the blend in one loop over pixels and
    colours is five times as fast as a stack of three; the barrier keeps that loop from gathering
    anew for each colour.
    """
    batch, side = canvas.shape[:2]
    red, green, blue = (canvas[..., channel].astype(jnp.uint32) for channel in range(3))
    words = (red | green << 8 | blue << 16).reshape(batch, side * side)
    where = positions(maps, side, image_size)
    left, right_share = tap(where.x, side)
    top, low_share = tap(where.y, side)
    corner = top * side + left
    upper, lower = _pairs(words, corner), _pairs(words, corner + side)
    upper, lower, right_share, low_share = lax.optimization_barrier(
        (upper, lower, right_share[..., None], low_share[..., None])
    )
    high, low = _blend(upper, right_share), _blend(lower, right_share)
    view: Array = (high + (low - high) * low_share) * (1 / 255)
    return view


def _pairs(words: Array, index: Int[Array, "batch size size"]) -> Array:
    """Words at index and index + 1, [batch, size, size, 2]."""
    numbers = lax.GatherDimensionNumbers((2,), (), (0,))

    def pairs(row: Array, at: Array) -> Array:
        return lax.gather(row, at[..., None], numbers, (2,), mode="promise_in_bounds")

    return jax.vmap(pairs)(words, index)


def _blend(pair: Array, share: Array) -> Float[Array, "batch size size 3"]:
    """Blend two packed neighbours into colours, by the share of the second."""
    shifts = jnp.asarray([0, 8, 16], jnp.uint32)
    first, second = (((pair[..., i, None] >> shifts) & 255).astype(jnp.float32) for i in (0, 1))
    return first + (second - first) * share
