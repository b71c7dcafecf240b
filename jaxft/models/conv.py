"""Convolution with one meaning and several lowerings, the fastest for each platform.

A grouped kernel (a depthwise one is one too) can be convolved in five ways, which LOWERINGS names;
GROUPED and DEPTHWISE say which one "auto" is, and a config's `model.conv` asks for another. On CPU
XLA's own convolution takes 20 to 40 times as long as need be for a depthwise kernel, forward and
backward, and up to 4 times for a 1x1 or a grouped one. bench/step_time.py and bench/tpu_grouped.py
measure what comes of it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.reduce import sum_together

Pads = tuple[tuple[int, int], ...]

BLOCK = 32  # channels of a block on CPU: of 16, 32 and 64 the fastest
LANES = 128  # numbers beside each other in a register of TPU
NARROW = 4  # channels of the widest groups for which shifted products are faster than blocks


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width group_in_channels out_channels"],
    stride: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    groups: int = 1,
    lowering: str = "auto",
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolves NHWC images with an HWIO kernel.

    `padding` is "SAME" (as TensorFlow pads), "VALID", or ((top, bottom), (left, right)).
    `lowering` is one of LOWERINGS for a kernel of several groups; see `choose`.
    """
    strides = (stride, stride)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    kernel, pads = without_idle_places(kernel, x.shape, stride, pads)
    if groups == 1:
        return ungrouped(x, kernel, stride, pads)
    way, width = choose(kernel.shape, groups, lowering)
    if way == "shifts":
        return shifts(*alike_varying(x, kernel), stride, pads)
    if way == "blocks":
        return blocks(x, kernel, stride, pads, groups, width)
    kernel, groups = pack(kernel, groups, width), kernel.shape[2] * groups // width
    if stride > 1 and platform.current().name == "gpu":
        return strided_conv(*alike_varying(x, kernel), stride, pads, groups)
    return xla_conv(x, kernel, stride, pads, groups)


def without_idle_places(
    kernel: Array, shape: Sequence[int], stride: int, pads: Pads
) -> tuple[Array, Pads]:
    """The kernel without the outer rows and columns that meet nothing but padding, and its pads.

    On images of 2 x 2 pixels 16 of the 25 places of a 5x5 kernel are idle.
    """
    kept, rest = [], []
    for size, length, (low, high) in zip(kernel.shape[:2], shape[1:3], pads, strict=True):
        last = (length + low + high - size) // stride * stride - low  # where the last window begins
        busy = [i for i in range(size) if i < length + low and last + i >= 0] or [0]
        kept.append(slice(busy[0], busy[-1] + 1))
        rest.append((low - busy[0], high - (size - 1 - busy[-1])))
    return kernel[kept[0], kept[1]], tuple(rest)


def ungrouped(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """A convolution of one group: on CPU as the first of UNGROUPED_ON_CPU that applies."""
    if platform.current().name == "cpu":
        for applies, lowering in UNGROUPED_ON_CPU:
            if applies(kernel.shape, pads):
                x, kernel = alike_varying(x, kernel)
                return lowering(x, kernel, stride, pads)
    return xla_conv(x, kernel, stride, pads)


def choose(kernel_shape: Sequence[int], groups: int, lowering: str = "auto") -> tuple[str, int]:
    """How a kernel of several groups is convolved, and the input channels of a group then.

    A lowering that the kernel does not divide into gives way to "auto", and that to "native".
    """
    inside, out = kernel_shape[2:]
    wanted = (lowering, *automatic(out, depthwise=inside == 1), "native")
    return next(filter(None, (_divided(inside, groups, out, word) for word in wanted)))


def parts(channels: int, groups: int, lowering: str = "auto") -> int:
    """In how many parts the channels before a grouped convolution are best kept on this platform.

    TPU's compiler gives each group of such a convolution tiles of its own. What has gone before,
    a 1x1 convolution and its BatchNorm, it writes another way, and rewrites on the way in and on
    the way back; unless they are made group by group, `in_parts`. Then it even normalises inside
    the grouped convolution. 1 where there is nothing to gain: no TPU, or groups that fill no tile.
    """
    if platform.current().name != "tpu" or groups == 1:
        return 1
    _, width = choose((3, 3, channels // groups, channels), groups, lowering)
    return channels // width if width % LANES == 0 else 1


def in_parts(x: Array, count: int) -> Array:
    """The last axis as two, the parts and what is in each; as it is where there is one part."""
    return x if count == 1 else x.reshape(*x.shape[:-1], count, -1)


def automatic(channels: int, depthwise: bool) -> list[str]:
    """What GROUPED or DEPTHWISE has for so many channels on this platform, the best first."""
    name, chip = platform.current()
    rows = DEPTHWISE.get(name, ()) if depthwise else GROUPED.get(chip) or GROUPED.get(name) or ()
    return [word for least, word in rows if channels >= least]


def _divided(inside: int, groups: int, out: int, lowering: str) -> tuple[str, int] | None:
    """A lowering as (way, input channels of a group); None where the kernel does not suit it."""
    way, _, number = lowering.partition(":")
    if way == "native":
        return way, inside
    if way == "dense":
        return way, inside * groups
    if way == "shifts":
        narrow = inside == 1 or (inside <= NARROW and out % BLOCK == 0)
        return (way, inside) if narrow and out == inside * groups else None
    if way == "auto":
        return None
    width = max(int(number), inside)
    return (way, width) if width % inside == 0 and inside * groups % width == 0 else None


def is_lowering(word: str) -> bool:
    """Whether `model.conv` can be this: one of LOWERINGS, with a power of 2 for WIDTH."""
    way, colon, number = word.partition(":")
    if not colon:
        return word in LOWERINGS
    power_of_2 = number.isdecimal() and int(number) > 1 and int(number).bit_count() == 1
    return f"{way}:WIDTH" in LOWERINGS and power_of_2


def pack(
    kernel: Float[Array, "height width group_in out"], groups: int, width: int
) -> Float[Array, "height width packed_in out"]:
    """The kernel of fewer groups, each `width` wide, with several of the old ones on its diagonal.

    The same convolution with more zeros, which matrix units as wide multiply in less time. It
    belongs inside what is differentiated, so that the zeros have no gradient and never change. A
    kernel whose groups are that wide stays as it is.
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


def blocks(x: Array, kernel: Array, stride: int, pads: Pads, groups: int, width: int) -> Array:
    """A grouped convolution as plain ones side by side, each of `width` channels.

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
    """Convolutions of the blocks of channels, side by side, each from as many to as many."""
    width = kernel.shape[2]
    count = x.shape[-1] // width
    parts = zip(jnp.split(x, count, -1), jnp.split(kernel, count, -1), strict=True)
    return jnp.concatenate([xla_conv(part, k, stride, pads) for part, k in parts], -1)


def xla_conv(x: Array, kernel: Array, stride: int, pads: Pads, groups: int = 1) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _block_forward(
    x: Array, kernel: Array, stride: int, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return block_conv(x, kernel, stride, pads), (x, kernel)


def _block_backward(
    stride: int, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """Both gradients in forms that XLA CPU is fast with.

    What automatic differentiation writes (the kernel turned by a flag, batch and channels changing
    places by dimension numbers) takes up to twice as long.
    """
    x, kernel = residuals
    dx = _input_gradient_of_blocks(x, kernel, stride, pads, dy)
    return dx, _kernel_gradient_of_blocks(x, kernel.shape, stride, pads, dy)


def _input_gradient_of_blocks(x: Array, kernel: Array, stride: int, pads: Pads, dy: Array) -> Array:
    if stride > 1:
        gradient: Array = jax.vjp(lambda x: in_blocks(x, kernel, stride, pads), x)[1](dy)[0]
        return gradient
    rows, columns, width = kernel.shape[:3]
    (top, bottom), (left, right) = pads
    over = ((rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right))
    return block_conv(dy, lax.optimization_barrier(turned(kernel, x.shape[-1] // width)), 1, over)


def _kernel_gradient_of_blocks(
    x: Array, kernel_shape: tuple[int, ...], stride: int, pads: Pads, dy: Array
) -> Array:
    """For each row of the kernel one batch of products: what the row meets, times dy, by block."""
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


def _along(x: Float[Array, "count batch height width block"], columns: int, stride: int) -> list:
    """What each place of a kernel's row meets."""
    last = x.shape[3] - columns
    return [x[:, :, ::stride, j : last + j + 1 : stride] for j in range(columns)]


def turned(kernel: Array, count: int) -> Array:
    """The kernel of `count` groups for the way back: turned by 180 degrees, in and out swapped."""
    rows, columns, inside, _ = kernel.shape
    groups = kernel[::-1, ::-1].reshape(rows, columns, inside, count, -1).swapaxes(2, 4)
    return groups.reshape(rows, columns, -1, inside * count)


block_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3))(in_blocks)
block_conv.defvjp(_block_forward, _block_backward)


def alike_varying(*arrays: Array) -> list[Array]:
    """Inside `shard_map`, marks all as varying over the axes over which any of them varies.

    A gradient written by hand is then varying for each; the sum over devices that an unvarying
    argument wants comes from the mark's own gradient.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    axes = frozenset[str]().union(*varying)
    missing = [tuple(axes - v) for v in varying]
    return [lax.pcast(a, m, to="varying") if m else a for a, m in zip(arrays, missing, strict=True)]


def _strided_backward(
    stride: int, pads: Pads, groups: int, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """Both gradients of a strided convolution in groups, in calls that cuDNN has.

    For the gradient to the input XLA has none: it would spread dy out with zeros and convolve that,
    stride squared times the work. Here one convolution of dy gives the pixels of every phase (row
    and column modulo the stride) as channels of their own, which groups of few channels have room
    for in a tile.
    """
    x, kernel = residuals
    dk = jax.vjp(lambda k: xla_conv(x, k, stride, pads, groups), kernel)[1](dy)[0]
    sides = zip(kernel.shape[:2], x.shape[1:3], dy.shape[1:3], pads, strict=True)
    down, right = (_phases(*side, stride) for side in sides)
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # the last place weighs nothing
    places = padded[down.places[:, None, :, None], right.places[:, None]]
    inside = kernel.shape[2]
    places = places.reshape(*places.shape[:4], inside, groups, -1).transpose(2, 3, 6, 5, 0, 1, 4)
    matrix = places.reshape(*places.shape[:3], -1)
    edges = ((down.pad, down.pad), (right.pad, right.pad))
    found = xla_conv(dy, matrix, 1, edges, groups)
    found = found.reshape(*found.shape[:3], groups, stride, stride, inside)
    zero, dx = jnp.zeros((), dy.dtype), []
    for i, j in np.ndindex(stride, stride):
        part = found[..., i, j, :].reshape(*found.shape[:3], -1)
        dx.append(lax.pad(part, zero, [(0, 0, 0), down.spread(i), right.spread(j), (0, 0, 0)]))
    return sum(dx[1:], dx[0]), dk


class _Phases(NamedTuple):
    """Along one side, how a kernel of `stride` phases gives back what a strided one took.

    `places` [stride, size]: the place in the kernel that each of a phase's has, one beyond the last
    where it has none. `pad` is as much before as after, for cuDNN knows no other; `begin` is where
    what is found for phase 0 begins, before the first pixel; `length` is the image's.
    """

    places: np.ndarray
    pad: int
    begin: int
    length: int
    found: int

    def spread(self, phase: int) -> tuple[int, int, int]:
        """Padding (before, after, between) that takes what is found to a phase's pixels."""
        stride = len(self.places)
        before = self.begin + phase
        return before, self.length - before - (self.found - 1) * stride - 1, stride - 1


def _phases(size: int, length: int, out: int, edges: tuple[int, int], stride: int) -> _Phases:
    # Pixel stride i + phase lies at place `phase + low - stride d` of the window i + d.
    low = edges[0]
    at = np.arange(stride)[:, None] + low - stride * np.arange(-size - low, size + low + 1)
    reached = np.flatnonzero(((at >= 0) & (at < size)).any(0))
    first, last = reached[0], reached[-1]
    at = at[:, first : last + 1]
    before, count = size + low - int(first), last - first + 1  # the first window is i - before
    pad = max(before, -(-length // stride) + count - 1 - before - out, 0)
    places = np.where((at >= 0) & (at < size), at, size)
    return _Phases(places, pad, (before - pad) * stride, length, out + 2 * pad - int(count) + 1)


def _strided_forward(
    x: Array, kernel: Array, stride: int, pads: Pads, groups: int
) -> tuple[Array, tuple[Array, Array]]:
    return strided_conv(x, kernel, stride, pads, groups), (x, kernel)


strided_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))(xla_conv)
strided_conv.defvjp(_strided_forward, _strided_backward)


def pointwise(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """A 1x1 convolution without padding, as a matrix product."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


def pointwise_in_parts(x: Array, kernel: Array, count: int) -> Array:
    """A 1x1 convolution without padding and stride whose outputs are made in so many parts."""
    product = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, in_parts(kernel[0, 0], count), product).reshape(*x.shape[:-1], -1)


def patches(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """All that the kernel meets, side by side, times the kernel as one matrix.

    For the few channels of an image: XLA CPU's convolution takes twice to three times as long. Side
    by side by rows first, then by columns, for what an array is made of is computed again for each
    slice of it.
    """
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows = jnp.concatenate(list(windows(padded, (kernel.shape[0], 1), (stride, 1))), -1)
    rows = lax.optimization_barrier(rows)
    columns = jnp.concatenate(list(windows(rows, (1, kernel.shape[1]), (1, stride))), -1)
    columns = lax.optimization_barrier(columns)
    matrix = kernel.swapaxes(0, 1).reshape(-1, kernel.shape[-1])
    return (columns.reshape(-1, len(matrix)) @ matrix).reshape(*columns.shape[:3], -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def shifts(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Depthwise, or with narrow groups: a sum of shifted products, which XLA makes one loop of."""
    return weigh(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)


def weigh(padded: Array, kernel: Array, stride: int) -> Array:
    """The sum over the kernel's places of what each meets times its weight.

    In groups of several channels a place meets as many to either side; whoever is of another group
    weighs nothing.
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
    return sum(w * weight for w, weight in zip(shifted, weights, strict=True))


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
    spread = jnp.where(here, kernel[:, :, None], 0).sum(3)
    return lax.optimization_barrier(spread)


def windows(
    padded: Array, kernel_shape: Sequence[int], stride: int | tuple[int, int]
) -> Iterator[Array]:
    """For each place in the kernel, row by row, what it meets: the image shifted and strided."""
    batch, height, width, channels = padded.shape
    rows, columns = kernel_shape[:2]
    down, right = stride if isinstance(stride, tuple) else (stride, stride)
    for i in range(rows):
        for j in range(columns):
            limit = (batch, height - rows + i + 1, width - columns + j + 1, channels)
            yield lax.slice(padded, (0, i, j, 0), limit, (1, down, right, 1))


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
    return dx, dense[1](_kernel_gradient_of_blocks(x, dense[0].shape, stride, pads, dy))[0]


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
    """All places' sums of products in one loop over each image, then over the images.

    A reduction for each place would store a shifted copy of x for each: 5 to 7 times as long.
    """
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    products = [window * dy for window in windows(padded, kernel_shape, stride)]
    by_image = lax.optimization_barrier(sum_together(products, (1, 2)))
    return jnp.stack([jnp.sum(s, 0) for s in by_image]).reshape(kernel_shape)


shifts.defvjp(_shifts_forward, _shifts_backward)


def _is_pointwise(kernel_shape: tuple[int, ...], pads: Pads) -> bool:
    return kernel_shape[:2] == (1, 1) and not any(map(any, pads))


def _has_few_channels(kernel_shape: tuple[int, ...], pads: Pads) -> bool:
    return kernel_shape[2] <= 4


# (applies to, lowering) of kernels of one group on CPU, the first that applies; else XLA's own.
UNGROUPED_ON_CPU = (
    (_is_pointwise, pointwise),
    (_has_few_channels, patches),
)

# What `model.conv` can be, which is for kernels of several groups.
LOWERINGS = {
    "auto": "what GROUPED and DEPTHWISE have for the platform and the layer",
    "native": "XLA's grouped convolution",
    "packed:WIDTH": "the same in fewer groups, each of WIDTH input channels, with zeros (`pack`)",
    "blocks:WIDTH": "convolutions of one group, each of WIDTH input channels, side by side",
    "dense": "one convolution of one group, with zeros",
    "shifts": "the sum of shifted products; for depthwise kernels and groups of up to 4 channels",
}

# What "auto" is, by chip or platform: (for layers of at least so many channels, lowering), the
# first row that applies and suits the kernel; native on all others. CPU: bench/README.md has what
# each takes for ResNeXt-101 64x4d's four shapes. TPU: the width of the matrix units, where XLA's
# cost model likes it, which was asked for v5e and v6e (bench/README.md); v4's and v5p's units are
# as wide as v5e's.
GROUPED: dict[str, tuple[tuple[int, str], ...]] = {
    "cpu": ((0, "shifts"), (0, f"blocks:{BLOCK}")),
    "v4": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v5e": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v5p": ((512, "packed:128"), (0, "packed:256"), (0, "packed:128")),
    "v6e": ((0, "packed:256"), (0, "packed:128")),
}
# The same for depthwise kernels, by platform.
DEPTHWISE: dict[str, tuple[tuple[int, str], ...]] = {"cpu": ((0, "shifts"),)}


def compute_dtype(given: Any, dtype: str) -> Any:
    """What a body of `dtype` computes in, given arrays of another: float64 where they are."""
    return given if given == "float64" else dtype


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32.

    A 1x1 convolution makes its outputs in so many `parts`, see the function of that name.
    """

    channels: int
    size: int = 1
    stride: int = 1
    padding: str | Sequence[tuple[int, int]] = "SAME"
    groups: int = 1
    dtype: str = "float32"
    lowering: str = "auto"
    parts: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Convolves in `dtype`, or in the wider of it and float64 where `x` is float64."""
        dtype = compute_dtype(x.dtype, self.dtype)
        if self.has_variable("params", "folded"):  # with BatchNorm in it and packed, see fold.py
            folded: Array = self.get_variable("params", "folded")
            groups = x.shape[-1] // folded.shape[2]
            return self._convolve(x.astype(dtype), folded.astype(dtype), groups)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.channels)
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape)
        return self._convolve(x.astype(dtype), kernel.astype(dtype), self.groups)

    def _convolve(self, x: Array, kernel: Array, groups: int) -> Array:
        if self.parts > 1:
            return pointwise_in_parts(x, kernel, self.parts)
        return conv(x, kernel, self.stride, self.padding, groups, self.lowering)
