"""Kernels that make the lines of a resized image, in whole numbers."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

# Of a sum of 16 bits 8 are left for the weights, which is within a level of exact, as long as
# there are few of them; else (and for negative weights) 32 bits are summed.
MAX_SHORT_TAPS = 8


def _triangle(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.maximum(1 - np.abs(x), 0)
    return values


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


# By name, the filter and its reach, in pixels of the smaller image.
FILTERS = {"bilinear": (_triangle, 1), "bicubic": (_keys_cubic, 2)}


class Kernel(NamedTuple):
    """The source's lines, with weights, that make each line of the result.

    Attributes:
      weights: [target, taps], times 2^n; every row's sum is 2^n exactly; n is 8 where the numbers
        are uint16, 16 where they are int32.
      lines: int32 [target, taps], of the source, ascending.
    """

    weights: np.ndarray
    lines: np.ndarray


@lru_cache(maxsize=256)  # of 10 KB each, of 100 KB where the source is a large photo
def _kernel(source: int, target: int, interpolation: str) -> Kernel:
    """The kernel that makes `target` lines of `source`."""
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
    lines = np.minimum(taps, source - 1).astype(np.int32)  # of weight 0 where that changes them
    return Kernel(whole, lines)


@lru_cache(maxsize=256)
def matrix(
    source: int, target: int, interpolation: str, start: int, stop: int
) -> tuple[csr_array, slice]:
    """The matrix that makes lines start ... stop - 1 of the target, and the lines that it takes."""
    kernel = _kernel(source, target, interpolation)
    weights, lines = kernel.weights[start:stop], kernel.lines[start:stop]
    used = slice(int(lines[0, 0]), int(lines[-1, -1]) + 1)
    some = weights != 0
    ends = np.concatenate([[0], np.cumsum(some.sum(1))]).astype(np.int32)
    shape = len(lines), used.stop - used.start
    return csr_array((weights[some], lines[some] - used.start, ends), shape=shape), used
