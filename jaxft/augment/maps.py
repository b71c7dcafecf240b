"""Maps from views to canvases: what they keep to, and where they put the pixels of a view."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Limits(NamedTuple):
    """Bounds that the maps of a batch keep to; the matrix products go by them.

    `upright`: rows stay rows. `reach`: how far beyond its borders a canvas is looked at, in sides.
    `slope`: how many pixels a view's column goes aside on the canvas for one row down, once x and
    y are exchanged where that makes it steeper. `turned`: whether there is such an exchange.
    """

    upright: bool
    reach: float
    slope: float
    turned: bool = True


# A square turned about its centre by any angle, and nothing in perspective.
ANY_ROTATION = Limits(False, 0.21, 1.0)


class Positions(NamedTuple):
    """Places of a view's pixels on its canvas, in pixels, the first one's centre at 0."""

    x: Float[Array, "batch size size"]
    y: Float[Array, "batch size size"]


def centred(image_size: int) -> Float[Array, " size"]:
    """The coordinates of a view's rows, or columns, in pixels from its centre."""
    return jnp.arange(image_size, dtype=jnp.float32) - (image_size - 1) / 2


def positions(maps: Float[Array, "batch rows 3"], side: int, image_size: int) -> Positions:
    """Find the places that the maps give the pixels of a view."""
    u, v = centred(image_size)[None, None, :], centred(image_size)[None, :, None]
    a = maps[..., None, None]
    x, y, *rest = (a[:, row, 0] * u + a[:, row, 1] * v + a[:, row, 2] for row in range(a.shape[1]))
    if rest:
        x, y = x / rest[0], y / rest[0]
    middle = (side - 1) / 2
    return Positions(x + middle, y + middle)


def steep(canvas: Array, maps: Array) -> tuple[Array, Array]:
    """Canvases and maps with x and y exchanged where the view's columns run more along x."""
    across, down = maps[:, 0, 1], maps[:, 1, 1]
    if maps.shape[1] == 3:  # the derivatives at the middle of the view
        across = across - maps[:, 0, 2] * maps[:, 2, 1]
        down = down - maps[:, 1, 2] * maps[:, 2, 1]
    flat = (jnp.abs(across) > jnp.abs(down))[:, None, None]
    exchanged = jnp.concatenate([maps[:, 1:2], maps[:, 0:1], maps[:, 2:]], 1)
    canvas = jnp.where(flat[..., None], canvas.swapaxes(1, 2), canvas)
    return canvas, jnp.where(flat, exchanged, maps)


def in_4096ths(numbers: Array) -> Array:
    """Numbers rounded so that float32 holds their sums and multiples exactly.

    However it is computed, the pixel nearest to such a sum is the same one wherever it is asked
    for.
    """
    return (jnp.round(numbers * 4096) / 4096).astype(jnp.float32)
