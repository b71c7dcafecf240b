"""Size at which images are read."""

from typing import Literal, NamedTuple

# Pillow warns above this; it is 268 MB of RGB pixels.
MAX_PIXELS = 89_478_485
MOST_PIXELS = 2 * MAX_PIXELS  # Pillow opens no larger
PADDING = 128  # gray, which lies between the mean colours that weights expect


class Sizing(NamedTuple):
    """Size at which an image is read.

    Attributes:
      shorter_side: pixels, those of a canvas; None keeps the image's own size.
      interpolation: one of kernel.FILTERS, antialiased.
      max_pixels: larger images are refused by their header, before any memory is taken.
      fit: crop: the shorter side is resized to that size, and a square is cut out of the longer
        one later; squash: both sides are; pad: the longer side is, and PADDING fills the square.
    """

    shorter_side: int | None = None
    interpolation: str = "bilinear"
    max_pixels: int = MAX_PIXELS
    fit: Literal["crop", "squash", "pad"] = "crop"


OWN_SIZE = Sizing()


def canvas_size(image_size: int) -> int:
    """Side of the square that a host hands over: ceil(1.1 * image_size), room to zoom and crop."""
    return -(-image_size * 11 // 10)  # in whole numbers: 1.1 * 50 is 55.00000000000001
