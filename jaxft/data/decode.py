"""An image file to upright RGB pixels, or the reason why it is none.

What a file holds decides how it is read, not what it is called. Nothing is ever written.
"""

import io
import math
import os
from functools import cache

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxft import paths
from jaxft.errors import UserError

# fmt: off
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
))
# fmt: on
# A list, because Pillow would otherwise hand PostScript to Ghostscript to run.
FORMATS = ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"]
# Pillow warns above this; it is 268 MB of RGB pixels.
MAX_PIXELS = 89_478_485
# Of an image longer than this many shorter sides only the middle is kept: 1 x 3000 pixels, made
# 256 wide, would be 590 MB.
MAX_ASPECT = 8
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(UserError):
    """A file that does not hold a whole image of a kind that we read."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__("an image can't be read:", [f"{name}: {reason}"])

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.name, self.reason)


def is_image_name(name: str) -> bool:
    """Whether a file in a class folder counts: known suffix, not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def decode(
    path: str | os.PathLike[str],
    shorter_side: int | None = None,
    max_pixels: int = MAX_PIXELS,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Decodes a whole file, turns it upright, and shrinks or grows its shorter side.

    Args:
      shorter_side: pixels; None keeps the file's own size.
      max_pixels: larger images are refused by their header, before any memory is taken.
      interpolation: one of FILTERS, antialiased.

    Returns:
      uint8 [height, width, 3], RGB; alpha on white, the first frame of an animation.

    Raises:
      UnreadableImage: the file is missing, truncated, no image, or too large.
    """
    name = os.fspath(path)
    file = _fetched(name) if paths.is_remote(name) else name
    return _decode(file, name, shorter_side, interpolation, max_pixels)


def decode_bytes(
    data: bytes,
    name: str,
    shorter_side: int | None = None,
    interpolation: str = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """`decode` of a file's content; `name` is what to call it in an error."""
    return _decode(io.BytesIO(data), name, shorter_side, interpolation, max_pixels)


def _decode(
    file: str | io.BytesIO,
    name: str,
    shorter_side: int | None,
    interpolation: str,
    max_pixels: int,
) -> np.ndarray:
    try:
        with Image.open(file, formats=_formats()) as image:
            _check_size(image, max_pixels)
            if shorter_side is not None:
                image.draft(None, _scaled(image.size, shorter_side))
            return _pixels(image, shorter_side, interpolation)
    except UnidentifiedImageError:
        raise UnreadableImage(name, _unidentified(file)) from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(name, f"too large: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise UnreadableImage(name, _reason(error)) from None


def _fetched(name: str) -> io.BytesIO:
    """All of an object, in one request.

    Raises:
      UnreadableImage: it is missing.
      UserError: the store fails; which is no fault of the image, and not to be skipped.
    """
    try:
        return io.BytesIO(paths.read(paths.of(name)))
    except FileNotFoundError as error:
        raise UnreadableImage(name, _reason(error)) from None
    except OSError as error:
        raise UserError(f"{name} cannot be fetched: {error.strerror}") from None


def resize(pixels: np.ndarray, shorter_side: int, interpolation: str = "bilinear") -> np.ndarray:
    """uint8 [h,w,3] -> the same with its shorter side as wanted, by one of FILTERS, antialiased."""
    return np.array(_resized(Image.fromarray(pixels), shorter_side, interpolation))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels, the limit is {max_pixels}")


def _pixels(image: Image.Image, shorter_side: int | None, interpolation: str) -> np.ndarray:
    image.load()  # first, for it turns a TIFF upright and then drops its orientation
    turn = UPRIGHT.get(_orientation(image))
    colours = _to_rgb(image)
    if shorter_side is not None:
        colours = _resized(colours, shorter_side, interpolation)
    return np.array(colours if turn is None else colours.transpose(turn))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; a broken EXIF block means 1, for the pixels may well be whole."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels, of which the scale is not known")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """16-bit gray to 8 bits; `convert("RGB")` would clip nearly all of it to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels, of which the scale is not known")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _scaled(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    scale = shorter_side / min(size)
    width, height = (max(shorter_side, math.floor(length * scale + 0.5)) for length in size)
    return width, height


def _resized(image: Image.Image, shorter_side: int, interpolation: str) -> Image.Image:
    width, height = image.size
    longest = MAX_ASPECT * min(width, height)
    if max(width, height) > longest:
        left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
        image = image.crop((left, top, left + min(width, longest), top + min(height, longest)))
    size = _scaled(image.size, shorter_side)
    return image.resize(size, FILTERS[interpolation], reducing_gap=2.0)


def _unidentified(file: str | io.BytesIO) -> str:
    size = os.path.getsize(file) if isinstance(file, str) else len(file.getbuffer())
    return "empty file" if size == 0 else "not an image of a known format"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split())
    return text or type(error).__name__
