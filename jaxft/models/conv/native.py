"""XLA's own convolution, which the other lowerings are made of or replace, and one by patches."""

from collections.abc import Iterator, Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Kernel = Array | np.ndarray  # NumPy's where a program has its weights as constants
Pads = tuple[tuple[int, int], ...]  # (before, after) of rows and of columns
Shape = tuple[int, ...]


def xla_conv(x: Array, kernel: Kernel, stride: int, pads: Pads, groups: int = 1) -> Array:
    """Convolve NHWC images with an HWIO kernel in one operation of XLA."""
    return lax.conv_general_dilated(
        x,
        cast(Array, kernel),
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def is_outsized(image: Shape, kernel: Shape, stride: int, pads: Pads) -> bool:
    """Tell whether a kernel is larger than what comes in or out, in height or width.

    Where it is larger than the image, XLA takes the one for the other, and CPU has no fast code for
    that: a 3x3 kernel on 2x2 pixels takes a hundred times as long as its patches. What comes out
    is the image of the gradient.

    Args:
      image: (height, width) of what comes in.
      kernel: shape of the kernel, HWIO.
      stride, pads: of the convolution.
    """
    sides = zip(image, kernel[:2], pads, strict=True)
    return any(
        0 < min(side, (side + sum(pad) - size) // stride + 1) < size for side, size, pad in sides
    )


def patches(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Multiply the patches that the kernel meets, side by side, by the kernel as one matrix.

    For the few channels of an image: XLA CPU's convolution takes two to three times as long. And
    for a kernel that is larger than the image (`is_outsized`). The patches are put together by rows
    first, then by columns, because the sources of an array are computed again for each slice of it.
    """
    edges = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]  # may be below zero
    padded = lax.pad(x, jnp.zeros((), x.dtype), edges)
    rows = jnp.concatenate(list(windows(padded, (kernel.shape[0], 1), (stride, 1))), -1)
    rows = lax.optimization_barrier(rows)
    columns = jnp.concatenate(list(windows(rows, (1, kernel.shape[1]), (1, stride))), -1)
    columns = lax.optimization_barrier(columns)
    matrix = kernel.swapaxes(0, 1).reshape(-1, kernel.shape[-1])
    product: Array = columns.reshape(-1, len(matrix)) @ matrix
    return product.reshape(*columns.shape[:3], kernel.shape[-1])


def windows(
    padded: Array, kernel_shape: Sequence[int], stride: int | tuple[int, int]
) -> Iterator[Array]:
    """Yield the pixels under each place of the kernel, row by row: shifted and strided images."""
    batch, height, width, channels = padded.shape
    rows, columns = kernel_shape[:2]
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    for i in range(rows):
        for j in range(columns):
            limit = (batch, height - rows + i + 1, width - columns + j + 1, channels)
            yield lax.slice(padded, (0, i, j, 0), limit, (1, down, right, 1))
