"""Size at which images are read."""

from typing import NamedTuple

# Pillow warns above this; it is 268 MB of RGB pixels.
MAX_PIXELS = 89_478_485
MOST_PIXELS = 2 * MAX_PIXELS  # Pillow opens no larger


class Sizing(NamedTuple):
    """Size at which an image is read.

    Attributes:
      shorter_side: pixels; None keeps the image's own size.
      interpolation: one of kernel.FILTERS, antialiased.
      max_pixels: larger images are refused by their header, before any memory is taken.
    """

    shorter_side: int | None = None
    interpolation: str = "bilinear"
    max_pixels: int = MAX_PIXELS


OWN_SIZE = Sizing()


def canvas_size(image_size: int) -> int:
    """Side of the square that a host hands over: ceil(1.1 * image_size), room to zoom and crop."""
    return -(-image_size * 11 // 10)  # in whole numbers: 1.1 * 50 is 55.00000000000001
