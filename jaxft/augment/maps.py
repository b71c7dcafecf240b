"""Maps from views to canvases: their bounds, and the places of a view's pixels on the canvas."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Limits(NamedTuple):
    """Bounds of the maps of a batch; the matrix products rely on them.

    `upright`: rows stay rows. `reach`: distance beyond the borders of a canvas at which it is
    sampled, in sides. `slope`: pixels that a view's column moves aside on the canvas for one row
    down, after x and y are exchanged where that makes it steeper. `turned`: there may be such an
    exchange.
    """

    upright: bool
    reach: float
    slope: float
    turned: bool = True


# A square turned about its centre by any angle, and nothing in perspective.
ANY_ROTATION = Limits(False, 0.21, 1.0)
UPRIGHT = Limits(upright=True, reach=0.0, slope=0.0, turned=False)


class Positions(NamedTuple):
    """Places of a view's pixels on its canvas, in pixels, the first one's centre at 0."""

    x: Float[Array, "batch size size"]
    y: Float[Array, "batch size size"]


def centred(image_size: int) -> Float[Array, " size"]:
    """Coordinates of a view's rows, or columns, in pixels from its centre."""
    return jnp.arange(image_size, dtype=jnp.float32) - (image_size - 1) / 2


def positions(maps: Float[Array, "batch rows 3"], side: int, image_size: int) -> Positions:
    """Return the places of a view's pixels on its canvas."""
    u, v = centred(image_size)[None, None, :], centred(image_size)[None, :, None]
    a = maps[..., None, None]
    x, y, *rest = (a[:, row, 0] * u + a[:, row, 1] * v + a[:, row, 2] for row in range(a.shape[1]))
    if rest:
        x, y = x / rest[0], y / rest[0]
    middle = (side - 1) / 2
    return Positions(x + middle, y + middle)


def steep(canvas: Array, maps: Array) -> tuple[Array, Array]:
    """Exchange x and y of canvases and maps where the view's columns run more along x."""
    across, down = maps[:, 0, 1], maps[:, 1, 1]
    if maps.shape[1] == 3:  # the derivatives at the middle of the view
        across = across - maps[:, 0, 2] * maps[:, 2, 1]
        down = down - maps[:, 1, 2] * maps[:, 2, 1]
    flat = (jnp.abs(across) > jnp.abs(down))[:, None, None]
    exchanged = jnp.concatenate([maps[:, 1:2], maps[:, 0:1], maps[:, 2:]], 1)
    canvas = jnp.where(flat[..., None], canvas.swapaxes(1, 2), canvas)
    return canvas, jnp.where(flat, exchanged, maps)


def in_4096ths(numbers: Array) -> Array:
    """Round numbers so that float32 holds their sums and multiples exactly.

    The pixel nearest to such a sum is then the same one, however the sum is computed.
    """
    return (jnp.round(numbers * 4096) / 4096).astype(jnp.float32)


def tap(coordinate: Float[Array, "..."], side: int) -> tuple[Int[Array, "..."], Array]:
    """Pixel before a coordinate, and the share of the next one, after reflection at the edges.

    The image repeats mirrored with its border pixels doubled (cv2.BORDER_REFLECT, scipy's
    "reflect"). No map reaches out by more than a side, so one reflection at each edge is enough.
    """
    edge = jnp.abs(coordinate + 0.5)
    inside = jnp.clip(side - jnp.abs(side - edge) - 0.5, 0, side - 1)
    before = jnp.minimum(inside.astype(jnp.int32), side - 2)
    return before, inside - before.astype(inside.dtype)
