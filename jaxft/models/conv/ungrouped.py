"""Convolutions of one group: XLA's own, or the faster forms on CPU."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxft.devices import platform
from jaxft.models.conv.native import Kernel, Pads, xla_conv
from jaxft.models.conv.windows import windows
from jaxft.models.varying import alike_varying


def ungrouped(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Convolve in one group: on CPU by the first of UNGROUPED_ON_CPU that applies."""
    if platform.current().name == "cpu":
        for applies, lowering in UNGROUPED_ON_CPU:
            if applies(kernel.shape, pads):
                x, kernel = alike_varying(x, kernel)
                return lowering(x, kernel, stride, pads)
    return xla_conv(x, kernel, stride, pads)


def pointwise(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Convolve 1x1 without padding, as a matrix product."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


def patches(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Multiply the patches that the kernel meets, side by side, by the kernel as one matrix.

    For the few channels of an image: XLA CPU's convolution takes two to three times as long.
    The patches are put together by rows first, then by columns, because the sources of an array are
    computed again for each slice of it.
    """
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows = jnp.concatenate(list(windows(padded, (kernel.shape[0], 1), (stride, 1))), -1)
    rows = lax.optimization_barrier(rows)
    columns = jnp.concatenate(list(windows(rows, (1, kernel.shape[1]), (1, stride))), -1)
    columns = lax.optimization_barrier(columns)
    matrix = kernel.swapaxes(0, 1).reshape(-1, kernel.shape[-1])
    product: Array = columns.reshape(-1, len(matrix)) @ matrix
    return product.reshape(*columns.shape[:3], -1)


def _is_pointwise(kernel_shape: tuple[int, ...], pads: Pads) -> bool:
    return kernel_shape[:2] == (1, 1) and not any(map(any, pads))


def _has_few_channels(kernel_shape: tuple[int, ...], pads: Pads) -> bool:
    return kernel_shape[2] <= 4


# (applies to, lowering) of kernels of one group on CPU, the first that applies; else XLA's own.
UNGROUPED_ON_CPU = (
    (_is_pointwise, pointwise),
    (_has_few_channels, patches),
)
