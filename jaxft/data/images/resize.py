"""Pixels at another size, antialiased: Pillow's, in well under half of its time.

One direction after the other is the product of a sparse matrix with the image's lines, in whole
numbers, so that every machine gets the same bits. Other threads run meanwhile. For a square of the
result no more than the square is computed.
"""

import math

import numpy as np
from scipy.sparse import csr_array

from jaxft.data.images.kernel import matrix
from jaxft.data.images.sizing import PADDING, Sizing

# Of an image to crop that is longer than this many shorter sides only the middle is kept: 1 x 3000
# pixels, made 256 wide, would be 590 MB.
MAX_ASPECT = 8
# Numbers that are widened at once, so that an image never stands in memory as whole numbers of
# 32 bits; smaller blocks are no faster.
BLOCK = 2**20
# Of the smallest first-level cache that a host has, 32 KB: bytes of a line, and a quarter of its
# lines.
CACHE_LINE, CACHED_LINES = 64, 128


def resize(
    pixels: np.ndarray, sizing: Sizing, share: float | None = None, from_end: bool = False
) -> np.ndarray:
    """Shrink or grow an image until its shorter side is as wanted, or both are, or the longer one.

    Args:
      pixels: uint8 [height, width, 3].
      sizing: size of the result; the limit of pixels does not count here.
      share: of the result only the square at this share of the room that the longer side leaves
        (see `crop`); None: all of it. Squashed and padded images are squares anyway.
      from_end: count that room, or the one to pad, from the other end.

    Returns:
      uint8 [height, width, 3], within two levels of Pillow's resize (more where bicubic overshoots
      black or white, for Pillow takes the directions in the other order); of an image to crop that
      is longer than MAX_ASPECT shorter sides, the middle. At its own size an image is returned as
      it is, whole.
    """
    side, interpolation = sizing.shorter_side, sizing.interpolation
    if side is None:
        return pixels
    if sizing.fit == "squash":
        return _resampled(pixels, (side, side), interpolation)
    if sizing.fit == "pad":
        return _padded(pixels, side, interpolation, from_end)
    pixels = _middle(pixels)
    size = _scaled(pixels, side / min(pixels.shape[:2]))
    rows, columns = (_wanted(length, side, share, from_end) for length in size)
    return _resampled(pixels, size, interpolation, rows, columns)


def _padded(pixels: np.ndarray, side: int, interpolation: str, from_end: bool) -> np.ndarray:
    size = _scaled(pixels, side / max(pixels.shape[:2]))
    canvas = np.full((side, side, 3), PADDING, np.uint8)
    starts = [(side - length + from_end) // 2 for length in size]
    top, left, (height, width) = *starts, size
    canvas[top : top + height, left : left + width] = _resampled(pixels, size, interpolation)
    return canvas


def _resampled(
    pixels: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> np.ndarray:
    """The rows and columns of an image at another size [height, width]."""
    (height, width), (new_height, new_width) = pixels.shape[:2], size
    if (new_height, new_width) == (height, width):
        return np.array(pixels[rows, columns])
    down, above = matrix(height, new_height, interpolation, *rows.indices(new_height)[:2])
    across, beside = matrix(width, new_width, interpolation, *columns.indices(new_width)[:2])
    source = pixels[above, beside]
    lines = _filtered(source.reshape(len(source), -1), down, spread=True)
    lines = _transposed(lines).reshape(source.shape[1], -1)  # of the other direction
    lines = _filtered(lines, across).reshape(-1, down.shape[0])
    return _transposed(lines).reshape(down.shape[0], across.shape[0], 3)


def crop(image: np.ndarray, side: int, share: float = 0.5) -> np.ndarray:
    """The square of `side` pixels at `share` of the room that an image's longer side leaves."""
    height, width = image.shape[:2]
    return image[_wanted(height, side, share), _wanted(width, side, share)]


def _wanted(length: int, side: int, share: float | None, from_end: bool = False) -> slice:
    """The square's lines among those of one direction."""
    if share is None:
        return slice(0, length)
    start = round((length - side) * share)
    if from_end:
        start = length - side - start
    return slice(start, start + side)


def _middle(pixels: np.ndarray) -> np.ndarray:
    longest = MAX_ASPECT * min(pixels.shape[:2])
    top, left = (max(0, length - longest) // 2 for length in pixels.shape[:2])
    return pixels[top : top + longest, left : left + longest]


def _scaled(pixels: np.ndarray, scale: float) -> tuple[int, int]:
    height, width = (max(1, math.floor(n * scale + 0.5)) for n in pixels.shape[:2])
    return height, width


def _filtered(lines: np.ndarray, matrix: csr_array, spread: bool = False) -> np.ndarray:
    """uint8 [source, n] -> uint8 [target, n]; `spread` as _empty's."""
    short = matrix.dtype == np.uint16
    bits = 8 if short else 16
    result = _empty(matrix.shape[0], lines.shape[1], spread)
    step = max(1, BLOCK // max(matrix.shape))
    for start in range(0, lines.shape[1], step):
        block = slice(start, start + step)
        sums = matrix @ lines[:, block].astype(matrix.dtype)
        sums += 1 << (bits - 1)
        sums >>= bits
        result[:, block] = sums if short else np.clip(sums, 0, 255)
    return result


def _empty(count: int, length: int, spread: bool) -> np.ndarray:
    """uint8 [count, length]; `spread`: so far apart that a cache holds one column of many lines.

    Lines that are nearly a power of two apart would share a few places of the cache.
    """
    apart = length
    if spread:
        apart = -(-length // CACHE_LINE)
        apart = (apart + 1 - apart % 2) * CACHE_LINE
    return np.empty((count, apart), np.uint8)[:, :length]


def _transposed(lines: np.ndarray) -> np.ndarray:
    """`lines.T` in its own memory, from as many lines at once as a cache can hold a column of."""
    result = np.empty(lines.shape[::-1], np.uint8)
    for start in range(0, len(lines), CACHED_LINES):
        result[:, start : start + CACHED_LINES] = lines[start : start + CACHED_LINES].T
    return result
