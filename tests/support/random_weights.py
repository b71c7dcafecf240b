"""Arrays that are a function of their name and shape, the same ones on PyTorch's side and on ours.

Drawn by numpy's RandomState, whose streams are frozen (NEP 19), so that golden files need to hold
the results only.
"""

import zlib

import numpy as np


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers in float64, seeded by the name."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A plausible float32 array for a name in torchvision's state dict, in PyTorch's layout."""
    numbers = normal(name, shape)
    if len(shape) > 1:
        numbers *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("var", "weight")):
        numbers = 1 + 0.2 * np.tanh(numbers)
    else:
        numbers *= 0.1
    return numbers.astype(np.float32)


def images(count: int, size: int) -> np.ndarray:
    """Normalised images, NHWC."""
    return normal("images", (count, size, size, 3))


def project(name: str, array: np.ndarray) -> float:
    """One number that any change of the array moves: its product with a direction of its own."""
    return float(np.vdot(normal("direction " + name, array.shape), array) / np.sqrt(array.size))
