"""Grouped convolutions on CPU as plain convolutions of blocks of channels, side by side."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.conv.kernel import pack, turned
from jaxft.models.conv.native import Pads, xla_conv
from jaxft.models.varying import alike_varying


def blocks(x: Array, kernel: Array, stride: int, pads: Pads, groups: int, width: int) -> Array:
    """Convolve in groups by plain convolutions side by side, each of `width` channels.

    XLA CPU takes up to four times as long for the same in one grouped convolution.
    """
    x, dense = alike_varying(x, pack(kernel, groups, width))
    return block_conv(x, dense, stride, pads)


def in_blocks(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width block_in out_channels"],
    stride: int,
    pads: Pads,
) -> Array:
    """Convolve every block of channels to as many outputs as every other, side by side."""
    width = kernel.shape[2]
    count = x.shape[-1] // width
    parts = zip(jnp.split(x, count, -1), jnp.split(kernel, count, -1), strict=True)
    return jnp.concatenate([xla_conv(part, k, stride, pads) for part, k in parts], -1)


def _block_forward(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return block_conv(x, kernel, stride, pads), (x, kernel)


def _block_backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """Both gradients in forms that XLA CPU is fast with.

    The forms that automatic differentiation writes (the kernel turned by a flag, batch and channels
    exchanged by dimension numbers) take up to twice as long.
    """
    x, kernel = residuals
    dx = _input_gradient(x, kernel, stride, pads, dy)
    return dx, block_kernel_gradient(x, kernel.shape, stride, pads, dy)


def _input_gradient(x: Array, kernel: Array, stride: int, pads: Pads, dy: Array) -> Array:
    if stride > 1:
        gradient: Array = jax.vjp(lambda x: in_blocks(x, kernel, stride, pads), x)[1](dy)[0]
        return gradient
    rows, columns, width = kernel.shape[:3]
    (top, bottom), (left, right) = pads
    over = ((rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right))
    return block_conv(dy, lax.optimization_barrier(turned(kernel, x.shape[-1] // width)), 1, over)


def block_kernel_gradient(
    x: Array, kernel_shape: tuple[int, ...], stride: int, pads: Pads, dy: Array
) -> Array:
    """Gradient of a kernel of blocks.

    For each row of the kernel one batch of products, a product for each block: the pixels that the
    row meets, times dy.
    """
    rows, columns, width, out = kernel_shape
    count = x.shape[-1] // width
    padded = lax.optimization_barrier(_by_block(jnp.pad(x, ((0, 0), *pads, (0, 0))), count))
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


block_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3))(in_blocks)
block_conv.defvjp(_block_forward, _block_backward)
