"""Layouts of arrays, between JAX and PyTorch."""

import numpy as np


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Turn a shape: HWIO -> OIHW, (in, out) -> (out, in)."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def from_torch_layout(array: np.ndarray) -> np.ndarray:
    moved = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return np.array(moved, np.float32, order="C")


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    moved = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(moved)
