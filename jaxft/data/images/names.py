"""Names of image files."""

import os

# fmt: off
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
))
# fmt: on


def is_image_name(name: str) -> bool:
    """Tell whether a file in a class folder counts: known suffix, not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
