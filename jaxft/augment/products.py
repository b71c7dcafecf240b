"""`warp` by matrix products, for TPU: any maps, and those that turn nothing."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, UInt8

from jaxft.augment.maps import ANY_ROTATION, Limits, centred, in_4096ths, positions, steep, tap


def by_two_products(
    canvas: UInt8[Array, "batch side side 3"], maps: Float[Array, "batch 2 3"], image_size: int
) -> Float[Array, "batch size size 3"]:
    """`warp` for maps that turn nothing: rows and columns resampled by a matrix product each."""
    side = canvas.shape[1]

    def weights(row: int) -> Float[Array, "batch size side"]:
        scale, shift = maps[:, row, row, None], maps[:, row, 2, None]
        before, share = tap(scale * centred(image_size) + shift + (side - 1) / 2, side)
        first = jax.nn.one_hot(before, side, dtype=jnp.float32)
        second = jax.nn.one_hot(before + 1, side, dtype=jnp.float32)
        return first + (second - first) * share[..., None].astype(jnp.float32)

    def product(form: str, *factors: Array) -> Array:
        return jnp.einsum(form, *factors, precision=lax.Precision.HIGHEST)

    across = product("bux,byxc->byuc", weights(0), canvas.astype(jnp.float32))
    return product("bvy,byuc->bvuc", weights(1), across) * (1 / 255)


def by_products(
    canvas: UInt8[Array, "batch side side 3"],
    maps: Float[Array, "batch rows 3"],
    image_size: int,
    limits: Limits = ANY_ROTATION,
) -> Float[Array, "batch size size 3"]:
    """`warp` with every gather as a product with a matrix of zeros and ones.

    A column of the view is a straight line on the canvas. First every row of the canvas gives
    each column a few pixels about the point where the column crosses it, and those below them;
    then each pixel of the view takes the row above it out of its column. The four pixels blended
    are the very ones that `by_gathers` blends: whole numbers up to 255 are exact in bfloat16.
    """
    side = canvas.shape[1]
    canvas, maps = steep(canvas, maps)
    margin = min(int(limits.reach * side) + 2, side)
    most = math.ceil(limits.slope + 0.5)  # pixels from the one nearest to the crossing
    line, where = _columns(maps, side, image_size), positions(maps, side, image_size)

    rows = jnp.arange(-margin, side + margin, dtype=jnp.float32)
    nearest = jnp.clip(jnp.round(line.at(rows[:, None])), -margin, side - 1 + margin)
    crossed = jax.nn.one_hot(nearest.astype(jnp.int32) + margin, len(rows), dtype=jnp.bfloat16)
    around = _select("bryk,bruy->brku", _neighbours(canvas, margin, most), crossed)

    # Columns first from here on, so that the small axes of taps and colours lie outside.
    x, y = where.x.swapaxes(1, 2), jnp.clip(where.y.swapaxes(1, 2), -margin, side - 1 + margin)
    top = jnp.floor(y)
    above = jax.nn.one_hot(top.astype(jnp.int32) + margin, len(rows), dtype=jnp.bfloat16)
    found = _select("brku,buvr->bukv", around, above).astype(jnp.float32)
    found = found.reshape(*found.shape[:2], 2 * most + 1, 2, 3, image_size)

    nearest = jnp.round(line.at(top.swapaxes(1, 2))).swapaxes(1, 2)
    taps = jnp.arange(-most, most + 1, dtype=jnp.float32)[:, None]
    shares = jnp.maximum(1 - jnp.abs((x - nearest)[:, :, None] - taps), 0).astype(jnp.float32)
    high, low = jnp.moveaxis((found * shares[:, :, :, None, None]).sum(2), 2, 0)
    view: Array = high + (low - high) * (y - top)[:, :, None]
    return view.transpose(0, 3, 1, 2) * (1 / 255)


class _Columns(NamedTuple):
    """Lines of a view's columns on the canvas: x = start + slope y.

    In multiples of 1/4096; see `in_4096ths`.
    """

    start: Float[Array, "batch 1 size"]
    slope: Float[Array, "batch 1 size"]

    def at(self, y: Array) -> Array:
        return self.start + self.slope * y.astype(jnp.float32)


def _columns(maps: Float[Array, "batch rows 3"], side: int, image_size: int) -> _Columns:
    u = centred(image_size)
    rows = [maps[:, row, :, None] for row in range(maps.shape[1])]
    # Two points in homogeneous coordinates: of the column's middle, and of its direction.
    px, py, pz, *_ = *(row[:, 0] * u + row[:, 2] for row in rows), 1.0
    qx, qy, qz, *_ = *(row[:, 1] for row in rows), 0.0
    a, b, c = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx  # a x + b y + c = 0
    middle, slope = (side - 1) / 2, -b / a
    start = middle - c / a - slope * middle
    return _Columns(in_4096ths(start)[:, None, :], in_4096ths(slope)[:, None, :])


def _neighbours(canvas: Array, margin: int, most: int) -> Array:
    """Neighbours of each pixel from `most` left of it to `most` right, and those below them.

    [batch, rows, columns, taps * 2 * 3] in bfloat16, of the canvas with a margin of its mirror
    image on every side.
    """
    side = canvas.shape[1] + 2 * margin
    wider = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = jnp.pad(canvas, wider, mode="symmetric").astype(jnp.bfloat16)
    # The outermost ones lie beyond the limits: their values do not matter.
    padded = jnp.pad(padded, ((0, 0), (0, 1), (most, most), (0, 0)))
    shifted = [
        padded[:, down : down + side, right : right + side]
        for right in range(2 * most + 1)
        for down in (0, 1)
    ]
    return jnp.concatenate(shifted, -1)


def _select(form: str, values: Array, chosen: Array) -> Array:
    """Multiply with zeros and ones; exact in bfloat16 where the values are."""
    return jnp.einsum(form, values, chosen, preferred_element_type=jnp.bfloat16)
