"""Size at which images are read."""

# Pillow warns above this; it is 268 MB of RGB pixels.
MAX_PIXELS = 89_478_485
MOST_PIXELS = 2 * MAX_PIXELS  # Pillow opens no larger


def canvas_size(image_size: int) -> int:
    """Side of the square that a host hands over: ceil(1.1 * image_size), room to zoom and crop."""
    return -(-image_size * 11 // 10)  # in whole numbers: 1.1 * 50 is 55.00000000000001
