"""Grouped convolutions on CPU as plain convolutions of blocks of channels, side by side."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.conv.kernel import block_kernel_gradient, pack, turned
from jaxft.models.conv.native import Kernel, Pads, is_outsized, patches, xla_conv
from jaxft.models.varying import alike_varying


def blocks(x: Array, kernel: Kernel, stride: int, pads: Pads, groups: int, width: int) -> Array:
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
    on_cpu = platform.current().name == "cpu"
    by_patches = on_cpu and is_outsized(x.shape[1:3], kernel.shape, stride, pads)
    convolve = patches if by_patches else xla_conv
    parts = zip(jnp.split(x, count, -1), jnp.split(kernel, count, -1), strict=True)
    return jnp.concatenate([convolve(part, k, stride, pads) for part, k in parts], -1)


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
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return dx, block_kernel_gradient(padded, kernel.shape, stride, dy)


def _input_gradient(x: Array, kernel: Array, stride: int, pads: Pads, dy: Array) -> Array:
    if stride > 1:
        gradient: Array = jax.vjp(lambda x: in_blocks(x, kernel, stride, pads), x)[1](dy)[0]
        return gradient
    rows, columns, width = kernel.shape[:3]
    (top, bottom), (left, right) = pads
    over = ((rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right))
    return block_conv(dy, lax.optimization_barrier(turned(kernel, x.shape[-1] // width)), 1, over)


block_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3))(in_blocks)
block_conv.defvjp(_block_forward, _block_backward)
