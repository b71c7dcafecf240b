"""Random rectangles in the unit square, to crop, to erase, or to paste from another image."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

ATTEMPTS = 10  # as torchvision's RandomResizedCrop and RandomErasing


def sides(
    uniform: Float[Array, "numbers batch"], areas: tuple[float, float], max_ratio: float
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Width and height, as shares of the square, of the first of ten rectangles that fits.

    Both are 0 where none of the ten fits.

    Args:
      uniform: 2 * ATTEMPTS numbers in [0, 1) for each example.
      areas: least and most area, drawn uniformly.
      max_ratio: of width to height or the other way round, drawn log-uniformly.
    """
    area = areas[0] + uniform[:ATTEMPTS] * (areas[1] - areas[0])
    ratio = jnp.exp((2 * uniform[ATTEMPTS:] - 1) * math.log(max_ratio))
    width, height = jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)
    fits = (width <= 1) & (height <= 1)
    first = fits & (jnp.cumsum(fits, 0) == 1)
    return jnp.sum(width * first, 0), jnp.sum(height * first, 0)


def inside(
    left: Float[Array, " batch"],
    top: Float[Array, " batch"],
    width: Float[Array, " batch"],
    height: Float[Array, " batch"],
    image_size: int,
) -> Bool[Array, "batch size size"]:
    """Pixels whose centres lie in a rectangle, which is given in shares of the square."""
    centres = (jnp.arange(image_size, dtype=left.dtype) + 0.5) / image_size

    def within(first: Array, extent: Array) -> Array:
        return (centres >= first[:, None]) & (centres < (first + extent)[:, None])

    return within(top, height)[:, :, None] & within(left, width)[:, None, :]
