"""Views of canvases, sampled bilinearly where maps say.

All lowerings compute the same numbers: gathers, and for TPU, whose gathers are slow, matrix
products; for maps without perspective, shears as well.
"""

from jaxtyping import Array, Float, UInt8

from jaxft.augment.gathers import by_gathers
from jaxft.augment.maps import Limits
from jaxft.augment.products import by_products, by_two_products
from jaxft.augment.shears import by_shears
from jaxft.devices import platform


def warp(
    canvas: UInt8[Array, "batch side side 3"],
    maps: Float[Array, "batch rows 3"],
    image_size: int,
    limits: Limits,
) -> Float[Array, "batch size size 3"]:
    """Sample each canvas bilinearly where its map says, reflecting at the borders, in 0..1.

    Args:
      canvas: images to sample.
      maps: from view to canvas, (x, y) in pixels from the centre of each: affine [2, 3], or a
        homography [3, 3] whose last number is 1.
      image_size: of the view.
      limits: bounds of the maps.
    """
    if platform.current().name != "tpu":
        return by_gathers(canvas, maps, image_size)
    if limits.upright:
        return by_two_products(canvas, maps, image_size)
    if maps.shape[1] == 2:
        return by_shears(canvas, maps, image_size, limits)
    return by_products(canvas, maps, image_size, limits)
