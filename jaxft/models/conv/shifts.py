"""Convolutions on CPU as sums of shifted products: depthwise, or in narrow groups."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.conv.kernel import BLOCK, block_kernel_gradient, pack, turned
from jaxft.models.conv.native import Pads, windows
from jaxft.models.reduce import sum_together


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def shifts(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve by a sum of shifted products, of which XLA makes one loop."""
    return weigh(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)


def weigh(padded: Array, kernel: Array, stride: int) -> Array:
    """Sum over the places of the kernel the pixels that each meets times its weights.

    In groups of several channels a place meets the channels on either side as well; those of other
    groups have a weight of zero.
    """
    inside, channels = kernel.shape[2:]
    reach = inside - 1
    padded = jnp.pad(padded, ((0, 0),) * 3 + ((reach, reach),))
    weights = across(kernel).reshape(-1, channels)
    shifted = (
        lax.slice_in_dim(window, offset, offset + channels, axis=3)
        for window in windows(padded, kernel.shape, stride)
        for offset in range(2 * reach + 1)
    )
    total: Array = sum(w * weight for w, weight in zip(shifted, weights, strict=True))
    return total


def across(
    kernel: Float[Array, "height width group_in out"],
) -> Float[Array, "height width offsets out"]:
    """Each output channel's weights of the channels around it, `group_in - 1` to either side."""
    inside, channels = kernel.shape[2:]
    if inside == 1:
        return kernel
    offsets = np.arange(1 - inside, inside)[:, None, None]
    source = np.arange(channels) % inside + offsets  # [offsets, 1, out]
    here = np.arange(inside)[:, None] == source
    spread: Array = jnp.where(here, kernel[:, :, None], 0).sum(3)
    spread = lax.optimization_barrier(spread)
    return spread


def _shifts_forward(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return shifts(x, kernel, stride, pads), (x, kernel)


def _shifts_backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _input_gradient(dy, kernel, x.shape, stride, pads)
    inside, groups = kernel.shape[2], x.shape[-1] // kernel.shape[2]
    if inside == 1:
        return dx, _kernel_gradient(x, dy, kernel.shape, stride, pads)
    dense = jax.vjp(lambda k: pack(k, groups, BLOCK), kernel)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return dx, dense[1](block_kernel_gradient(padded, dense[0].shape, stride, dy))[0]


def _input_gradient(
    dy: Array, kernel: Array, shape: tuple[int, ...], stride: int, pads: Pads
) -> Array:
    """The turned kernel over dy, spread out by the stride and padded to give `shape`."""
    edges = [(0, 0, 0)]
    for n, size, out, (low, _) in zip(
        shape[1:3], kernel.shape[:2], dy.shape[1:3], pads, strict=True
    ):
        spread = (out - 1) * stride + 1
        edges.append((size - 1 - low, n + low - spread, stride - 1))
    padded = lax.pad(dy, jnp.zeros((), dy.dtype), [*edges, (0, 0, 0)])
    return weigh(padded, turned(kernel, shape[-1] // kernel.shape[2]), 1)


def _kernel_gradient(
    x: Array, dy: Array, kernel_shape: tuple[int, ...], stride: int, pads: Pads
) -> Array:
    """Sums of products for all places in one loop over each image, then over the images.

    A reduction for each place would store a shifted copy of x for each: 5 to 7 times as long.
    """
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    products = [window * dy for window in windows(padded, kernel_shape, stride)]
    by_image = lax.optimization_barrier(sum_together(products, (1, 2)))
    return jnp.stack([jnp.sum(s, 0) for s in by_image]).reshape(kernel_shape)


shifts.defvjp(_shifts_forward, _shifts_backward)
