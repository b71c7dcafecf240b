"""Pixels at another size, antialiased: what Pillow computes, in well under half of its time.

One direction after the other is the product of a sparse matrix with the image's lines, in whole
numbers, so that every machine gets the same bits. It lets other threads run meanwhile.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

# Of an image longer than this many shorter sides only the middle is kept: 1 x 3000 pixels, made
# 256 wide, would be 590 MB.
MAX_ASPECT = 8
# Of a sum of 16 bits 8 are left for the weights, which is within a level of exact, as long as
# there are few of them; else (and for negative weights) 32 bits are summed.
MAX_SHORT_TAPS = 8
# Numbers that are widened at once, so that an image never stands in memory as whole numbers of
# 32 bits; smaller blocks are no faster.
BLOCK = 2**20


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


# By name, the filter and how far it reaches, in pixels of the smaller image.
FILTERS = {"bilinear": (_triangle, 1), "bicubic": (_keys_cubic, 2)}


def resize(pixels: np.ndarray, shorter_side: int, interpolation: str = "bilinear") -> np.ndarray:
    """Shrinks or grows an image until its shorter side is as wanted.

    Args:
      pixels: uint8 [height, width, 3].
      shorter_side: pixels.
      interpolation: one of FILTERS.

    Returns:
      uint8 [height, width, 3], within two levels of Pillow's resize (more where bicubic overshoots
      black or white, for Pillow takes the directions in the other order); of an image longer than
      MAX_ASPECT shorter sides, the middle.
    """
    pixels = _middle(pixels)
    height, width = pixels.shape[:2]
    new_height, new_width = (_scaled(n, shorter_side / min(height, width)) for n in (height, width))
    if (new_height, new_width) == (height, width):
        return np.array(pixels)
    rows = _filtered(pixels.reshape(height, -1), _kernel(height, new_height, interpolation))
    # The lines of the other direction: [width, 3 * new_height].
    columns = np.ascontiguousarray(rows.T).reshape(width, -1)
    columns = _filtered(columns, _kernel(width, new_width, interpolation)).reshape(-1, new_height)
    return np.ascontiguousarray(columns.T).reshape(new_height, new_width, 3)


def _middle(pixels: np.ndarray) -> np.ndarray:
    longest = MAX_ASPECT * min(pixels.shape[:2])
    top, left = (max(0, length - longest) // 2 for length in pixels.shape[:2])
    return pixels[top : top + longest, left : left + longest]


def _scaled(length: int, scale: float) -> int:
    return math.floor(length * scale + 0.5)


@lru_cache(maxsize=1024)  # of about 10 KB each
def _kernel(source: int, target: int, interpolation: str) -> csr_array:
    """[target, source]: the weights of the source's lines in each of the target's, times 2^n.

    Every row's sum is 2^n exactly; n is 8 where the numbers are uint16, 16 where they are int32.
    """
    filter, reach = FILTERS[interpolation]
    scale = source / target
    stretch = max(scale, 1.0)  # a smaller image takes in all that lies between its pixels
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), source)
    taps = first[:, None] + np.arange((last - first).max())
    weights = filter((taps + 0.5 - centre[:, None]) / stretch) * (taps < last[:, None])
    weights /= weights.sum(1, keepdims=True)
    short = weights.min() >= 0 and taps.shape[1] <= MAX_SHORT_TAPS
    # Rounded as running sums, so that the errors of a row cancel.
    sums = np.round(np.cumsum(weights, 1) * (256 if short else 65536))
    whole = np.diff(sums, axis=1, prepend=0).astype(np.uint16 if short else np.int32)
    starts = np.arange(0, taps.size + 1, taps.shape[1])
    lines = np.minimum(taps, source - 1).ravel()  # of weight 0 where that changes them
    return csr_array((whole.ravel(), lines, starts), shape=(target, source))


def _filtered(lines: np.ndarray, kernel: csr_array) -> np.ndarray:
    """uint8 [source, n] -> uint8 [target, n]."""
    short = kernel.dtype == np.uint16
    bits = 8 if short else 16
    result = np.empty((kernel.shape[0], lines.shape[1]), np.uint8)
    step = max(1, BLOCK // max(kernel.shape))
    for start in range(0, lines.shape[1], step):
        block = slice(start, start + step)
        sums = kernel @ lines[:, block].astype(kernel.dtype)
        sums += 1 << (bits - 1)
        sums >>= bits
        result[:, block] = sums if short else np.clip(sums, 0, 255)
    return result
