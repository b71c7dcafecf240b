"""HEIC and HEIF, which phones take photos in; decoded by the extra `heif`."""

import importlib.util
from collections.abc import Mapping
from functools import cache

from jaxft.errors import UserError

SUFFIXES = frozenset((".heic", ".heif", ".hif"))
BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
INSTALL = "pip install 'jaxft[heif]'"


@cache
def installed() -> bool:
    """Tell whether the decoder is there."""
    return importlib.util.find_spec("pillow_heif") is not None


def is_heif(data: bytes) -> bool:
    """Tell by its first bytes whether a file holds a HEIF image; AVIF's are others."""
    brands = data[8 : int.from_bytes(data[:4], "big")]
    return data[4:8] == b"ftyp" and brands[:4] in BRANDS and b"avif" not in brands


@cache
def register() -> None:
    """Make Pillow open HEIF images.

    Raises:
      UserError: the decoder is missing.
    """
    if not installed():
        raise UserError(f"a HEIF image: {INSTALL}")
    import pillow_heif

    pillow_heif.register_heif_opener()


def in_words(counts: Mapping[str, int]) -> str:
    """Count the files that would be images with the extra; "" where there are none."""
    lacking = [f"{counts[suffix]:,} {suffix}" for suffix in sorted(SUFFIXES) if counts.get(suffix)]
    return "" if installed() or not lacking else f"{', '.join(lacking)} ({INSTALL})"
