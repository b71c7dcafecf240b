"""Image files, on a disk or in a bucket."""

import os
import stat

import numpy as np

from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.sizing import MAX_PIXELS, OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage, reason_of
from jaxft.errors import UserError
from jaxft.runtime import paths

# Room for what surrounds the pixels in a file; 16-bit colours with alpha take 8.
MAX_BYTES_PER_PIXEL = 16


def decode(
    path: str | os.PathLike[str], sizing: Sizing = OWN_SIZE, share: float | None = None
) -> np.ndarray:
    """Decode a whole file, turn it upright, and shrink or grow its shorter side.

    Arguments, result and errors are those of `decode_bytes` and `content`.
    """
    name = os.fspath(path)
    return decode_bytes(content(name, sizing.max_pixels), name, sizing, share)


def content(name: str, max_pixels: int = MAX_PIXELS) -> bytes:
    """All bytes of a file or object.

    Only a regular file is opened, for a pipe would block, and only one that is not too large for an
    image of `max_pixels`.

    Raises:
      UnreadableImage: it is missing, no file, or too large.
      UserError: a store fails; the image is not at fault, and must not be skipped.
    """
    return _fetched(name) if paths.is_remote(name) else _read(name, max_pixels)


def _read(name: str, max_pixels: int) -> bytes:
    try:
        about = os.stat(name)
        if stat.S_ISDIR(about.st_mode):
            raise UnreadableImage(name, "is a directory")
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableImage(name, "is a device, a pipe or a socket")
        if about.st_size > MAX_BYTES_PER_PIXEL * max_pixels:
            raise UnreadableImage(
                name, f"{about.st_size} bytes, too large for an image of {max_pixels} pixels"
            )
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableImage(name, reason_of(error)) from None


def _fetched(name: str) -> bytes:
    """All of an object, in one request."""
    try:
        return paths.read(paths.of(name))
    except FileNotFoundError as error:
        raise UnreadableImage(name, reason_of(error)) from None
    except OSError as error:
        raise UserError(f"{name} cannot be fetched: {error.strerror}") from None
