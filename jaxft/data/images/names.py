"""Names of image files."""

import os

from jaxft.data.images import heif

# fmt: off
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
))
# fmt: on


def is_image_name(name: str) -> bool:
    """Tell whether a file in a class folder counts: known suffix, not hidden."""
    suffix = os.path.splitext(name)[1].lower()
    known = suffix in SUFFIXES or (suffix in heif.SUFFIXES and heif.installed())
    return known and not name.startswith(".")
