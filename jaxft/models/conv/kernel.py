"""Kernels rewritten for a lowering: trimmed, packed into fewer groups, turned for the gradient."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.conv.native import Pads


def without_idle_places(
    kernel: Array, shape: Sequence[int], stride: int, pads: Pads
) -> tuple[Array, Pads]:
    """Trim the outer rows and columns of a kernel that meet nothing but padding, and its pads.

    On images of 2 x 2 pixels 16 of the 25 places of a 5x5 kernel are idle.
    """
    kept, rest = [], []
    for size, length, (low, high) in zip(kernel.shape[:2], shape[1:3], pads, strict=True):
        last = (length + low + high - size) // stride * stride - low  # where the last window begins
        busy = [i for i in range(size) if i < length + low and last + i >= 0] or [0]
        kept.append(slice(busy[0], busy[-1] + 1))
        rest.append((low - busy[0], high - (size - 1 - busy[-1])))
    return kernel[kept[0], kept[1]], tuple(rest)


def pack(
    kernel: Float[Array, "height width group_in out"], groups: int, width: int
) -> Float[Array, "height width packed_in out"]:
    """Pack the groups of a kernel into fewer, each `width` wide, with the old ones on the diagonal.

    The convolution stays the same and gains zeros; matrix units of that width multiply it in less
    time. Pack inside the differentiated function, so that the zeros have no gradient and never
    change. A kernel whose groups are that wide stays as it is.
    """
    inside, out = kernel.shape[2:]
    if width == inside:
        return kernel
    # The outputs stay where they are, in the lanes of a TPU's vectors: to spread them over a
    # diagonal's axes instead takes milliseconds of a train step.
    together = width // inside
    row = lax.broadcasted_iota(jnp.int32, (width, out), 0) // inside
    column = lax.broadcasted_iota(jnp.int32, (width, out), 1) // (out // groups) % together
    return jnp.where(row == column, jnp.tile(kernel, (1, 1, together, 1)), 0)


def turned(kernel: Array, count: int) -> Array:
    """Turn a kernel of `count` groups by 180 degrees and swap its inputs and outputs."""
    rows, columns, inside, _ = kernel.shape
    groups = kernel[::-1, ::-1].reshape(rows, columns, inside, count, -1).swapaxes(2, 4)
    return groups.reshape(rows, columns, -1, inside * count)
