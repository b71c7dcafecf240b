"""Convolution with one meaning and several lowerings, the fastest for each platform.

GPU gets XLA's own convolution, and TPU too, grouped kernels in fewer and wider groups
(PACKED_WIDTHS). On CPU XLA's own takes 20 to 40 times as long as need be for a depthwise kernel,
forward and backward, and up to 4 times for a 1x1 or a grouped one; CPU_LOWERINGS and `blocks` say
which kernels go another way there. bench/step_time.py measures what comes of it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.models import platform
from jaxft.models.reduce import sum_together

Pads = tuple[tuple[int, int], ...]


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width group_in_channels out_channels"],
    stride: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    groups: int = 1,
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolves NHWC images with an HWIO kernel.

    `padding` is "SAME" (as TensorFlow pads), "VALID", or ((top, bottom), (left, right)).
    """
    strides = (stride, stride)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    if platform.current().name == "cpu":
        for applies, lowering in CPU_LOWERINGS:
            if applies(kernel.shape, pads, groups):
                x, kernel = alike_varying(x, kernel)
                return lowering(x, kernel, stride, pads)
        if has_blocks(kernel.shape, groups):
            return blocks(x, kernel, stride, pads, groups)
    width = packed_width(kernel.shape, groups)
    if width:
        kernel, groups = pack(kernel, groups, width), kernel.shape[2] * groups // width
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def packed_width(kernel_shape: Sequence[int], groups: int) -> int:
    """Input channels of the groups that the platform multiplies fastest; 0: as they are."""
    width = PACKED_WIDTHS.get(platform.current().chip, 0)
    inside = kernel_shape[2]
    suits = 1 < inside < width and width % inside == 0 and inside * groups % width == 0
    return width if suits and groups > 1 else 0


def pack(
    kernel: Float[Array, "height width group_in out"], groups: int, width: int
) -> Float[Array, "height width packed_in out"]:
    """The kernel of fewer groups, each `width` wide, with several of the old ones on its diagonal.

    The same convolution with more zeros, which matrix units as wide multiply in less time. It
    belongs inside what is differentiated, so that the zeros have no gradient and never change.
    """
    rows, columns, inside, out = kernel.shape
    together = width // inside
    blocks = kernel.reshape(rows, columns, 1, inside, groups // together, together, -1)
    diagonal = jnp.eye(together, dtype=kernel.dtype).reshape(1, 1, together, 1, 1, together, 1)
    return (blocks * diagonal).reshape(rows, columns, width, out)


def blocks(x: Array, kernel: Array, stride: int, pads: Pads, groups: int) -> Array:
    """A grouped convolution as plain ones, each of BLOCK channels or of one wider group.

    XLA CPU takes up to four times as long for the same in one grouped convolution.
    """
    width = max(BLOCK, kernel.shape[2])
    dense = pack(kernel, groups, width) if kernel.shape[2] < width else kernel
    x, dense = alike_varying(x, dense)
    return block_conv(x, dense, stride, pads)


def in_blocks(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width block_in out_channels"],
    stride: int,
    pads: Pads,
) -> Array:
    """Convolutions of the blocks of channels, side by side, each from as many to as many."""
    width = kernel.shape[2]
    count = x.shape[-1] // width
    parts = zip(jnp.split(x, count, -1), jnp.split(kernel, count, -1), strict=True)
    return jnp.concatenate([plain_conv(part, k, stride, pads) for part, k in parts], -1)


def plain_conv(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """XLA's own convolution, of one group."""
    names = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=names)


def _block_forward(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return block_conv(x, kernel, stride, pads), (x, kernel)


def _block_backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """Both gradients in the one form of convolution that XLA CPU is fast with.

    What automatic differentiation writes (the kernel turned by a flag, batch and channels changing
    places by dimension numbers) takes up to twice as long.
    """
    x, kernel = residuals
    if stride > 1:
        return jax.vjp(partial(in_blocks, stride=stride, pads=pads), x, kernel)[1](dy)
    rows, columns, width, out = kernel.shape
    (top, bottom), (left, right) = pads
    count = x.shape[-1] // width
    turned = kernel[::-1, ::-1].reshape(rows, columns, width, count, -1).swapaxes(2, 4)
    turned = turned.reshape(rows, columns, out // count, -1)
    over = ((rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right))
    dx = block_conv(dy, lax.optimization_barrier(turned), 1, over)

    def one(block: tuple[Array, Array]) -> Array:
        return plain_conv(*block, 1, pads)

    # Pixels as the kernel, images as the channels; a loop, which compiles in a fifth of the time.
    blocks_of_x = x.transpose(3, 1, 2, 0).reshape(count, width, *x.shape[1:3], len(x))
    blocks_of_dy = dy.reshape(*dy.shape[:3], count, -1).transpose(3, 1, 2, 0, 4)
    gradients = lax.map(one, (blocks_of_x, blocks_of_dy))  # [blocks, width, rows, columns, out]
    return dx, gradients.transpose(2, 3, 1, 0, 4).reshape(kernel.shape)


block_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3))(in_blocks)
block_conv.defvjp(_block_forward, _block_backward)


def has_blocks(kernel_shape: Sequence[int], groups: int) -> bool:
    """Whether the channels divide into blocks that hold whole groups."""
    inside = kernel_shape[2]
    return groups > 1 and inside * groups % BLOCK == 0 and (BLOCK % inside == 0 or inside > BLOCK)


def alike_varying(*arrays: Array) -> list[Array]:
    """Inside `shard_map`, marks all as varying over the axes over which any of them varies.

    A gradient written by hand is then varying for each; the sum over devices that an unvarying
    argument wants comes from the mark's own gradient.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    axes = frozenset[str]().union(*varying)
    missing = [tuple(axes - v) for v in varying]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing, strict=True)]


def pointwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """A 1x1 convolution without padding, as a matrix product."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


def patches(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """All that the kernel meets, side by side, times the kernel as one matrix.

    For the few channels of an image: XLA CPU's convolution takes twice to three times as long.
    """
    met = windows(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel.shape, stride)
    columns = lax.optimization_barrier(jnp.concatenate(list(met), -1))
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return (columns.reshape(-1, len(matrix)) @ matrix).reshape(*columns.shape[:3], -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """One kernel for each channel: a sum of shifted products, which XLA makes one loop of."""
    return weigh(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)


def weigh(padded: Array, kernel: Array, stride: int) -> Array:
    """The sum over the kernel's places of what each meets times its weight."""
    weights = kernel.reshape(-1, kernel.shape[-1])
    shifted = windows(padded, kernel.shape, stride)
    return sum(w * weight for w, weight in zip(shifted, weights, strict=True))


def windows(padded: Array, kernel_shape: Sequence[int], stride: int) -> Iterator[Array]:
    """For each place in the kernel, row by row, what it meets: the image shifted and strided."""
    batch, height, width, channels = padded.shape
    rows, columns = kernel_shape[:2]
    for i in range(rows):
        for j in range(columns):
            limit = (batch, height - rows + i + 1, width - columns + j + 1, channels)
            yield lax.slice(padded, (0, i, j, 0), limit, (1, stride, stride, 1))


def _depthwise_forward(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride, pads), (x, kernel)


def _depthwise_backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _input_gradient(dy, kernel, x.shape, stride, pads)
    return dx, _kernel_gradient(x, dy, kernel.shape, stride, pads)


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
    return weigh(padded, kernel[::-1, ::-1], 1)


def _kernel_gradient(
    x: Array, dy: Array, kernel_shape: tuple[int, ...], stride: int, pads: Pads
) -> Array:
    """All places' sums of products in one loop over each image, then over the images.

    A reduction for each place would store a shifted copy of x for each: 5 to 7 times as long.
    """
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    products = [window * dy for window in windows(padded, kernel_shape, stride)]
    by_image = lax.optimization_barrier(sum_together(products, (1, 2)))
    return jnp.stack([jnp.sum(s, 0) for s in by_image]).reshape(kernel_shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _is_pointwise(kernel_shape: tuple[int, ...], pads: Pads, groups: int) -> bool:
    return groups == 1 and kernel_shape[:2] == (1, 1) and not any(map(any, pads))


def _is_depthwise(kernel_shape: tuple[int, ...], pads: Pads, groups: int) -> bool:
    return groups == kernel_shape[3] and kernel_shape[2] == 1


def _has_few_channels(kernel_shape: tuple[int, ...], pads: Pads, groups: int) -> bool:
    return groups == 1 and kernel_shape[2] <= 4


# Widths to which grouped kernels are packed, by chip: those of its matrix units. XLA's cost model
# was asked for v5e only; the others follow from the width of their units.
PACKED_WIDTHS = {"v4": 128, "v5e": 128, "v5p": 128, "v6e": 256}

# Channels of a block on CPU: of 16, 32 and 64 the fastest over ResNeXt-101 64x4d's four shapes.
BLOCK = 32

# (applies to, lowering), the first that applies; the rest is XLA's own.
CPU_LOWERINGS = (
    (_is_pointwise, pointwise),
    (_is_depthwise, depthwise),
    (_has_few_channels, patches),
)


def compute_dtype(given: Any, dtype: str) -> Any:
    """What a body of `dtype` computes in, given arrays of another: float64 where they are."""
    return given if given == "float64" else dtype


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32."""

    channels: int
    size: int = 1
    stride: int = 1
    padding: str | Sequence[tuple[int, int]] = "SAME"
    groups: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Convolves in `dtype`, or in the wider of it and float64 where `x` is float64."""
        dtype = compute_dtype(x.dtype, self.dtype)
        if self.has_variable("params", "folded"):  # with BatchNorm in it and packed, see fold.py
            folded: Array = self.get_variable("params", "folded")
            groups = x.shape[-1] // folded.shape[2]
            return conv(x.astype(dtype), folded.astype(dtype), self.stride, self.padding, groups)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.channels)
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape)
        return conv(x.astype(dtype), kernel.astype(dtype), self.stride, self.padding, self.groups)
