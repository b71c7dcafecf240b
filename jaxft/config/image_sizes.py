"""Image sizes that a config may name, in pixels a side."""

SMALLEST = 32  # the bodies halve an image five times
LARGEST = 4096
ALLOWED = f"from {SMALLEST} to {LARGEST}, or 0"


def is_allowed(pixels: int) -> bool:
    """Tell whether an image may be of this size; 0 leaves it open."""
    return pixels == 0 or SMALLEST <= pixels <= LARGEST
