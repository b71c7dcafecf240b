"""Kernels of several groups: packed into fewer, turned for the gradient, and their own gradient."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

BLOCK = 32  # channels of a block on CPU: of 16, 32 and 64 the fastest


def pack(
    kernel: Float[Array | np.ndarray, "height width group_in out"], groups: int, width: int
) -> Float[Array | np.ndarray, "height width packed_in out"]:
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


def block_kernel_gradient(
    padded: Array, kernel_shape: tuple[int, ...], stride: int, dy: Array
) -> Array:
    """Compute the gradient of a kernel of blocks from the padded images and dy.

    Each row of the kernel is one batch of products, a product for each block: the pixels that the
    row meets, times dy.
    """
    rows, columns, width, out = kernel_shape
    count = padded.shape[-1] // width
    padded = lax.optimization_barrier(_by_block(padded, count))
    dy = lax.optimization_barrier(_by_block(dy, count).reshape(count, -1, out // count))
    batched = (((1,), (1,)), ((0,), (0,)))
    products = []
    for row in range(rows):
        part = padded[:, :, row : padded.shape[2] - rows + row + 1]
        met = [w.reshape(count, -1, width) for w in _along(part, columns, stride)]
        row_met = lax.optimization_barrier(jnp.concatenate(met, -1))
        products.append(lax.dot_general(row_met, dy, batched))
    stacked = jnp.stack(products).reshape(rows, count, columns, width, -1)
    return stacked.transpose(0, 2, 3, 1, 4).reshape(kernel_shape)


def _by_block(x: Array, count: int) -> Float[Array, "count batch height width block"]:
    return x.reshape(*x.shape[:3], count, -1).transpose(3, 0, 1, 2, 4)


def _along(
    x: Float[Array, "count batch height width block"], columns: int, stride: int
) -> list[Array]:
    """The pixels that each place of a kernel's row meets."""
    last = x.shape[3] - columns
    return [x[:, :, ::stride, j : last + j + 1 : stride] for j in range(columns)]
