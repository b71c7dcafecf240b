"""`warp` for TPU where nothing is in perspective: two shears by whole pixels, and two products.

A turned and zoomed view is a shear of the canvas's rows, a zoom across, a shear of its columns and
a zoom down. Here the shears are by whole pixels, some six selections between an array and itself
moved by a power of 2; the zooms take the few pixels that may then be wanted about each place, by a
product with zeros and ones that all rows (all columns) of an image share, as suits matrix units.
The four pixels blended are the very ones that `by_gathers` blends.

The three colours travel in one 32-bit word. In a product each is a bfloat16 of its own, red times
1, green times 256, blue times 65536: all are exact, and so is their sum in float32, the word again.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from jaxft.augment.maps import ANY_ROTATION, Limits, centred, in_4096ths, positions, steep
from jaxft.models.reduce import sum_together

BITS = 2  # of a distance that one selection is for: four arrays to choose from
COLOURS = (1, 256, 65536)  # factors of the colours in a word
DOWN = 3  # rows of which two are wanted: the whole part of a sum is that of its parts, or 1 more


class _Line(NamedTuple):
    """Crossings of a view's columns with the rows of its canvas: start + slope (y - centre).

    `centre` is the row nearest to the view's own centre. In multiples of 1/4096 (`in_4096ths`).
    """

    start: Float[Array, "batch size"]
    slope: Float[Array, "batch 1"]
    centre: Float[Array, "batch 1"]

    def aside(self, y: Array) -> Array:
        """Whole pixels to move row y by, so that every column crosses it at `start`."""
        return jnp.floor(_across(self.slope, y) * (y - _across(self.centre, y)))

    def nearest(self, y: Float[Array, "... size"]) -> Array:
        """Pixel of row y that is nearest to the crossing."""
        moved = _across(self.slope, y) * (y - _across(self.centre, y))
        return jnp.floor(_across(self.start, y) + moved + 0.5)


def _across(numbers: Array, like: Array) -> Array:
    """Give numbers [batch, n] the rank of `like`, by axes of 1 between."""
    return numbers.reshape(len(numbers), *(1,) * (like.ndim - 2), -1)


def by_shears(
    canvas: UInt8[Array, "batch side side 3"],
    maps: Float[Array, "batch 2 3"],
    image_size: int,
    limits: Limits = ANY_ROTATION,
) -> Float[Array, "batch size size 3"]:
    """`warp` for affine maps; arrays are [batch, ..., y, x], as images are."""
    side = canvas.shape[1]
    if limits.turned:
        canvas, maps = steep(canvas, maps)
    most = math.ceil(limits.slope + 0.5)  # pixels from the one nearest to the crossing
    margin = min(int(limits.reach * side) + 2 + most, side)
    line, middle = _line(maps, side, image_size), (side - 1) / 2
    rows = jnp.arange(-margin, side + margin, dtype=jnp.float32)

    # Rows so that each column of the view crosses them all at about the same pixel.
    furthest = math.ceil(limits.slope * (side * (0.5 + limits.reach) + 2)) + 1
    aside = jnp.clip(line.aside(rows[None]), -furthest, furthest)
    words = jnp.pad(_words(canvas), ((0, 0), (margin,) * 2, (margin,) * 2), mode="symmetric")
    sheared = _moved(words.swapaxes(1, 2), aside[:, None, :], furthest)  # [batch, x, y]
    base = jnp.floor(line.start + 0.5)
    places = _places(base, range(-most, most + 2), margin, len(rows))
    found = _select("bcxy,bckux->bkyu", sheared, places)
    # The nearest is `base`, moved as the row was, or one more.
    one_more = line.nearest(rows[None, :, None]) - base[:, None] - line.aside(rows[None, :, None])
    found = jnp.where(one_more[:, None] > 0.5, found[:, 1:], found[:, :-1])

    # Columns so that each row of the view crosses them all at about the same pixel.
    across, down, shift = (maps[:, 1, i, None] for i in range(3))
    furthest = math.ceil(limits.slope * side / 2) + 1
    lower = jnp.clip(jnp.floor(across * centred(image_size)), -furthest, furthest)
    top = jnp.floor(down * centred(image_size) + shift + middle)
    sheared = _moved(found, lower[:, None, None, :], furthest)
    found = _select("bkcyu,bclvy->bklvu", sheared, _places(top, range(DOWN), margin, len(rows)))

    where = positions(maps, side, image_size)
    row = jnp.stack([top + i for i in range(DOWN)], 1)[..., None] + lower[:, None, None, :]
    from_nearest = (where.x[:, None] - line.nearest(row))[:, None]
    taps = jnp.arange(-most, most + 1, dtype=jnp.float32).reshape(-1, 1, 1, 1)
    shares = _tent(from_nearest - taps) * _tent(where.y[:, None] - row)[:, None]
    # One reduction of all three, which TPU's compiler fuses with the product before it.
    terms = [(found & 255 * colour).astype(jnp.float32) * shares for colour in COLOURS]
    view = jnp.stack(sum_together(terms, (1, 2)), -1)
    return view * (1 / 255 / jnp.asarray(COLOURS, jnp.float32))


def _line(maps: Array, side: int, image_size: int) -> _Line:
    (a, b, c), (d, e, f) = (tuple(maps[:, row, i, None] for i in range(3)) for row in range(2))
    middle = (side - 1) / 2
    centre = jnp.round(f + middle)
    start = (a - b * d / e) * centred(image_size) + c + middle + b / e * (centre - middle - f)
    return _Line(in_4096ths(start), in_4096ths(b / e), centre.astype(jnp.float32))


def _tent(distance: Array) -> Float[Array, "..."]:
    """Share of a pixel in a point at this distance."""
    return jnp.maximum(1 - jnp.abs(distance), 0).astype(jnp.float32)


def _words(canvas: UInt8[Array, "... 3"]) -> Int[Array, "..."]:
    """Pack the three colours of each pixel into one number."""
    red, green, blue = (canvas[..., i].astype(jnp.int32) * COLOURS[i] for i in range(3))
    return red | green | blue


def _colours(words: Int[Array, "..."], axis: int) -> Int[Array, "..."]:
    """Separate the colours, still multiplied, along a new axis."""
    words = jnp.expand_dims(words, axis)
    shape = [3 if i == axis else 1 for i in range(words.ndim)]
    return words & (255 * jnp.asarray(COLOURS, words.dtype)).reshape(shape)


def _moved(words: Array, distance: Array, furthest: int) -> Array:
    """Move words along the last axis but one, by `distance` towards its start; zeros fill up.

    Distances are whole numbers, at most `furthest` either way.
    """
    shifts = range(0, (2 * furthest).bit_length(), BITS)
    steps = [min((1 << BITS) - 1, 2 * furthest >> shift) for shift in shifts]
    beyond = sum(most << shift for most, shift in zip(steps, shifts, strict=True)) - furthest
    edges = [(0, 0)] * words.ndim
    edges[-2] = furthest, beyond
    words, distance = jnp.pad(words, edges), distance.astype(jnp.int32) + furthest
    for most, shift in zip(steps, shifts, strict=True):
        steps_here, length = distance >> shift & (1 << BITS) - 1, words.shape[-2] - (most << shift)
        parts = [
            lax.slice_in_dim(words, i << shift, (i << shift) + length, axis=-2)
            for i in range(most + 1)
        ]
        words = parts[0]
        for i, part in enumerate(parts[1:], 1):
            words = jnp.where(steps_here == i, part, words)
    return words


def _places(
    base: Float[Array, "batch size"], taps: Iterable[int], margin: int, count: int
) -> Array:
    """Matrix that takes each tap of each place out of `count` pixels, once for each colour."""
    at = jnp.stack([base + tap for tap in taps], 1).astype(jnp.int32) + margin
    ones = at[..., None] == jnp.arange(count)
    return jnp.broadcast_to(ones[:, None], (len(ones), 3, *ones.shape[1:])).astype(jnp.bfloat16)


def _select(form: str, words: Array, places: Array) -> Int[Array, "..."]:
    """Take the words at places: a product over pixels and colours, which joins the colours."""
    axis = form.index("c") - form.index("b")
    colours = _colours(words, axis).astype(jnp.bfloat16)
    found = jnp.einsum(form, colours, places, preferred_element_type=jnp.float32)
    return found.astype(jnp.int32)
