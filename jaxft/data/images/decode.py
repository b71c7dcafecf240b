"""Decoding of an image file to upright RGB pixels.

A file's content decides how it is read, not its name. Nothing is ever written.
"""

import io
import threading
from collections.abc import Callable
from functools import cache

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from jaxft.data.images import heif
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage, reason_of

# A list, because Pillow would otherwise hand PostScript to Ghostscript to run.
FORMATS = ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"]
ORIENTATION_TAG = 0x0112
# By EXIF orientation, what turns the pixels upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
# The orientations whose rows, or columns, stand the other way round.
BOTTOM_UP, RIGHT_TO_LEFT = frozenset((3, 4, 6, 7)), frozenset((2, 3, 7, 8))
LOADING = threading.Lock()  # of an opened image, which several threads may be given


def decode_bytes(
    data: bytes,
    name: str,
    sizing: Sizing = OWN_SIZE,
    share: float | None = None,
) -> np.ndarray:
    """Decode a file's content; several threads may, at the same time.

    Args:
      data: the content.
      name: of the file, for errors.
      sizing: size of the result.
      share: place of a square in the resized image. Only the square is computed, the same as
        resize.crop's in less time; None: all of the image.

    Returns:
      uint8 [height, width, 3], RGB; alpha on white, the first frame of an animation.

    Raises:
      UnreadableImage: it is truncated, corrupt, no image, or too large.
    """
    if not data:
        raise UnreadableImage(name, "empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
            _check_size(*image.size, sizing.max_pixels)
            return _upright(image, data, sizing, share)
    except UnidentifiedImageError:
        raise UnreadableImage(name, "not an image of a known format") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(name, f"too large: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise UnreadableImage(name, reason_of(error)) from None


def _formats(data: bytes) -> tuple[str, ...]:
    if heif.is_heif(data):
        heif.register()
        return ("HEIF",)
    return _own_formats()


def from_pillow(
    image: Image.Image, name: str, sizing: Sizing = OWN_SIZE, share: float | None = None
) -> np.ndarray:
    """Take the pixels of an image that Pillow has opened or made, as `decode_bytes` does a file's.

    They are a file's to the bit, but for JPEGs, which files let a faster decoder shrink. Of several
    frames it is the current one.

    Arguments, result and errors are those of `decode_bytes`.
    """
    try:
        _check_size(*image.size, sizing.max_pixels)
        with LOADING:
            pixels = _loaded(image)
            orientation = _orientation(image)
        return _turned(pixels, orientation, sizing, share)
    except MemoryError:
        raise
    except Exception as error:  # as above, where the file is read only now
        raise UnreadableImage(name, reason_of(error)) from None


@cache
def _own_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels, the limit is {max_pixels}")


def _upright(image: Image.Image, data: bytes, sizing: Sizing, share: float | None) -> np.ndarray:
    pixels = _jpeg(data, sizing) if image.format in ("JPEG", "MPO") else None
    if pixels is None:
        _check_sums(image, data)
        pixels = _loaded(image)
    return _turned(pixels, _orientation(image), sizing, share)


def _loaded(image: Image.Image) -> np.ndarray:
    image.load()  # first, for it turns a TIFF upright and then drops its orientation
    return np.asarray(_to_rgb(image))


def _turned(
    pixels: np.ndarray, orientation: int, sizing: Sizing, share: float | None
) -> np.ndarray:
    """The pixels upright and resized."""
    turn = UPRIGHT.get(orientation)
    portrait = pixels.shape[0] > pixels.shape[1]
    turned = BOTTOM_UP if portrait != (sizing.fit == "pad") else RIGHT_TO_LEFT
    pixels = resize(pixels, sizing, share, orientation in turned)
    return np.require(turn(pixels) if turn else pixels, requirements=("C_CONTIGUOUS", "WRITEABLE"))


def _check_sums(image: Image.Image, data: bytes) -> None:
    """Raise an error where a checksum of a PNG's chunks is wrong; `load` does not look at them."""
    if image.format == "PNG":
        with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
            again.verify()


def _jpeg(data: bytes, sizing: Sizing) -> np.ndarray | None:
    """The pixels of a JPEG, no smaller than needed; None where only Pillow can decode it.

    Strict: damage that a lenient decoder would mend is an error.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):
        return None
    _check_size(width, height, sizing.max_pixels)
    factor = _shrinking(min(height, width), sizing.shorter_side)
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data,
        "CMYK" if colours in ("CMYK", "YCCK") else "RGB",
        min_height=-(-height // factor),
        min_width=-(-width // factor),
        min_factor=2,
    )
    if pixels.shape[2] == 3:
        return pixels
    # In JPEG files ink is stored inverted, as Adobe does it.
    return np.asarray(Image.fromarray(255 - pixels, "CMYK").convert("RGB"))


def _shrinking(side: int, shorter_side: int | None) -> int:
    """Factor by which the decoder itself may shrink an image, quickly: 1, 2, 4 or 8."""
    if shorter_side is None:
        return 1
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or side >= factor * shorter_side)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 for a broken EXIF block, as the pixels may be whole."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels of unknown scale")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """16-bit gray to 8 bits; `convert("RGB")` would clip nearly all of it to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels of unknown scale")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
