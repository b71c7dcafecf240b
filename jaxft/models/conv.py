"""Convolution with one meaning and several lowerings, the fastest for each platform."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], tuple[int, int]]


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width group_in_channels out_channels"],
    stride: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolves NHWC images with an HWIO kernel; `SAME` pads as TensorFlow does."""
    x, kernel = alike_varying(x, kernel)
    strides = (stride, stride)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    if jax.default_backend() == "cpu":
        for applies, lowering in CPU_LOWERINGS:
            if applies(kernel.shape, pads, groups):
                return lowering(x, kernel, stride, pads)
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip


def alike_varying(*arrays: Array) -> list[Array]:
    """Inside `shard_map`, marks all as varying over the axes over which any of them varies.

    A custom gradient must then be varying too; the sum that an unvarying argument wants comes
    from the mark's own gradient.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    axes = frozenset().union(*varying)
    missing = [tuple(axes - v) for v in varying]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing)]


def pointwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """A 1x1 convolution as a matrix product; XLA CPU's convolution is up to 4x slower."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """A depthwise convolution as a sum of shifted products."""
    (top, bottom), (left, right) = pads
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    return sum(window * kernel[i, j, 0] for (i, j), window in windows(padded, kernel.shape, stride))


def windows(padded: Array, kernel_shape: tuple[int, ...], stride: int):
    """For each place in the kernel, what it meets: the image shifted by it, and strided."""
    batch, height, width, channels = padded.shape
    rows, columns = kernel_shape[:2]
    for i in range(rows):
        for j in range(columns):
            limit = (batch, height - rows + i + 1, width - columns + j + 1, channels)
            yield (i, j), lax.slice(padded, (0, i, j, 0), limit, (1, stride, stride, 1))


def _depthwise_forward(x, kernel, stride, pads):
    return depthwise(x, kernel, stride, pads), (x, kernel)


def _depthwise_backward(stride, pads, residuals, dy):
    x, kernel = residuals
    return input_gradient(dy, kernel, x.shape, stride, pads), kernel_gradient(
        x, dy, kernel.shape, stride, pads
    )


def input_gradient(dy, kernel, shape, stride, pads):
    rows, columns = kernel.shape[:2]
    edges = [(0, 0, 0)]
    for n, size, out, (low, _) in zip(shape[1:3], (rows, columns), dy.shape[1:3], pads):
        dilated = (out - 1) * stride + 1
        before = size - 1 - low
        edges.append((before, n + size - 1 - before - dilated, stride - 1))
    spread = lax.pad(dy, jnp.zeros((), dy.dtype), [*edges, (0, 0, 0)])
    flipped = kernel[::-1, ::-1]
    return sum(window * flipped[i, j, 0] for (i, j), window in windows(spread, kernel.shape, 1))


def kernel_gradient(x, dy, kernel_shape, stride, pads):
    (top, bottom), (left, right) = pads
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    padded = lax.optimization_barrier(padded)
    products = [window * dy for _, window in windows(padded, kernel_shape, stride)]
    sums = sum_together(products, (1, 2))
    sums = lax.optimization_barrier(sums)
    return jnp.stack([jnp.sum(s, 0) for s in sums]).reshape(kernel_shape)


def sum_together(arrays: list[Array], axes: tuple[int, ...]) -> list[Array]:
    zeros = alike_varying(*[jnp.zeros((), a.dtype) for a in arrays], arrays[0])[:-1]
    return lax.reduce(arrays, zeros, lambda a, b: [p + q for p, q in zip(a, b)], axes)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)

CPU_LOWERINGS = (
    (
        lambda shape, pads, groups: groups == 1 and shape[:2] == (1, 1) and not any(sum(pads, ())),
        pointwise,
    ),
    (lambda shape, pads, groups: groups == shape[3] and shape[2] == 1, depthwise),
)


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32."""

    channels: int
    size: int = 1
    stride: int = 1
    padding: Padding = "SAME"
    groups: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Convolves in `dtype`, or in the wider of it and float64 where `x` is float64."""
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.channels)
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape)
        dtype = x.dtype if x.dtype == "float64" else self.dtype
        return conv(x.astype(dtype), kernel.astype(dtype), self.stride, self.padding, self.groups)
