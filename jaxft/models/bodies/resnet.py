"""ResNet and ResNeXt as torchvision computes them (v1.5: the stride sits in the 3x3 convolution).

He et al., 2015 (arXiv:1512.03385); Xie et al., 2016 (arXiv:1611.05431).

Parameters carry torchvision's names, with "_" where its `state_dict` has ".":
    early: conv1, bn1, layer1_N, layer2_N
    late: layer3_N, layer4_N
    layerS_N: conv1, bn1, conv2, bn2 (, conv3, bn3) (, downsample_0, downsample_1)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.body import TORCHVISION, Body
from jaxft.models.conv.layer import Conv
from jaxft.models.conv.parts import parts
from jaxft.models.max_pool import max_pool
from jaxft.models.norm.layer import BatchNorm


class Architecture(NamedTuple):
    """A row of the family's table: blocks in each of the four layers, and what a block is.

    `conv` is no part of the mathematics: how the grouped convolutions are lowered.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    conv: str = "auto"

    @property
    def expansion(self) -> int:
        """Channels that leave a block, over the layer's nominal width."""
        return 4 if self.bottleneck else 1


ARCHITECTURES = {
    "resnet18": Architecture((2, 2, 2, 2), bottleneck=False),
    "resnet34": Architecture((3, 4, 6, 3), bottleneck=False),
    "resnet50": Architecture((3, 4, 6, 3)),
    "resnet101": Architecture((3, 4, 23, 3)),
    "resnet152": Architecture((3, 8, 36, 3)),
    "resnext50_32x4d": Architecture((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x4d": Architecture((3, 4, 23, 3), groups=32, group_width=4),
    "resnext101_32x8d": Architecture((3, 4, 23, 3), groups=32, group_width=8),
    "resnext101_64x4d": Architecture((3, 4, 23, 3), groups=64, group_width=4),
}
WIDTHS = (64, 128, 256, 512)
STEM_CHANNELS = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (resnet18, resnet34)."""

    architecture: Architecture
    width: int
    stride: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width out"]:
        """One block."""
        x, few = fork(x, self.stride) if train else (x, None)
        y = _conv_bn(x, 1, self.width, 3, self.stride, 1, self.dtype, train, axis_name)
        y = _conv_bn(y, 2, self.width, 3, 1, 1, self.dtype, train, axis_name, activation="none")
        shortcut = _shortcut(x, few, self.width, self.stride, self.dtype, train, axis_name)
        return add_relu(shortcut, y)


class Bottleneck(nn.Module):
    """1x1 down, (grouped) 3x3, 1x1 up, and a shortcut (resnet50 and deeper, ResNeXt)."""

    architecture: Architecture
    width: int
    stride: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width out"]:
        """One block."""
        groups, dtype, lowering = self.architecture.groups, self.dtype, self.architecture.conv
        inside = self.width * self.architecture.group_width // 64 * groups
        outside = self.width * self.architecture.expansion
        x, few = fork(x, self.stride) if train else (x, None)
        split = parts(inside, groups, lowering) if train else 1
        y = _conv_bn(x, 1, inside, 1, 1, 1, dtype, train, axis_name, split=split)
        y = _conv_bn(
            y, 2, inside, 3, self.stride, groups, dtype, train, axis_name, lowering=lowering
        )
        y = _conv_bn(y, 3, outside, 1, 1, 1, dtype, train, axis_name, activation="none")
        shortcut = _shortcut(x, few, outside, self.stride, dtype, train, axis_name)
        return add_relu(shortcut, y)


def fork(x: Array, stride: int) -> tuple[Array, Array | None]:
    """A block's input, and on a GPU the pixels of it that a strided shortcut reads.

    Else XLA would have cuDNN write the shortcut's gradient with zeros for all other pixels, for the
    first convolution's gradient to be added to. None: the shortcut takes the pixels itself.
    """
    if stride == 1 or platform.current().name != "gpu":
        return x, None
    return _fork(stride, x)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fork(stride: int, x: Array) -> tuple[Array, Array]:
    return x, x[:, ::stride, ::stride]


def _fork_forward(stride: int, x: Array) -> tuple[tuple[Array, Array], None]:
    return _fork(stride, x), None


def _fork_backward(stride: int, _: None, gradients: tuple[Array, Array]) -> tuple[Array]:
    gradient, few = gradients
    height, width = gradient.shape[1:3]
    spread = few.repeat(stride, 1).repeat(stride, 2)[:, :height, :width]
    row, column = (lax.broadcasted_iota(jnp.int32, gradient.shape, axis) for axis in (1, 2))
    read = (row % stride == 0) & (column % stride == 0)
    # Used twice, a convolution's result is not taken into another's sum.
    return (jnp.where(read, gradient + spread, gradient),)


_fork.defvjp(_fork_forward, _fork_backward)


@jax.custom_vjp
def add_relu(x: Array, y: Array) -> Array:
    """Compute relu(x + y), to the bit in the form that the platform is fast with.

    XLA CPU takes a maximum for so cheap that it would compute x + y again wherever it is needed,
    hence the x before it, and so on up to the first block; a sum of two arrays it computes once.
    The GPU's convolutions end in a maximum at no cost, and in no other form.
    """
    if platform.current().name == "cpu":
        return jnp.where(x > -y, x, -y) + y
    return jnp.maximum(x + y, 0)


def _add_relu_forward(x: Array, y: Array) -> tuple[Array, Array]:
    total = jnp.where(x > -y, x, -y) + y
    return total, total


def _add_relu_backward(total: Array, gradient: Array) -> tuple[Array, Array]:
    passed = jnp.where(total > 0, gradient, 0)
    return passed, passed


add_relu.defvjp(_add_relu_forward, _add_relu_backward)


def _conv_bn(
    x: Array,
    number: int,
    channels: int,
    size: int,
    stride: int,
    groups: int,
    dtype: str,
    train: bool,
    axis_name: str | None,
    activation: str = "relu",
    lowering: str = "auto",
    split: int = 1,
) -> Array:
    """convN and bnN of the block being built, padded as PyTorch pads (size // 2 on each side)."""
    edge = (size // 2, size // 2)
    name = f"conv{number}"
    conv = Conv(channels, size, stride, (edge, edge), groups, dtype, lowering, split, name=name)
    norm = BatchNorm(activation=activation, parts=split, name=f"bn{number}")
    return norm(conv(x), train, axis_name)


def _shortcut(
    x: Array,
    few: Array | None,
    channels: int,
    stride: int,
    dtype: str,
    train: bool,
    axis_name: str | None,
) -> Array:
    """The block's input, through a 1x1 convolution where the block changes its shape.

    `few` are the pixels of x that this reads, where `fork` has taken them.
    """
    if stride == 1 and x.shape[-1] == channels:
        return x
    x, stride = (x, stride) if few is None else (few, 1)
    edge = (0, 0)
    x = Conv(channels, 1, stride, (edge, edge), dtype=dtype, name="downsample_0")(x)
    return BatchNorm(name="downsample_1")(x, train, axis_name)


def _layers(
    architecture: Architecture, numbers: tuple[int, ...], dtype: str
) -> list[BasicBlock | Bottleneck]:
    """The blocks of layers `numbers` (from 1); each layer but the first halves the image."""
    kind = Bottleneck if architecture.bottleneck else BasicBlock
    return [
        kind(
            architecture,
            WIDTHS[number - 1],
            2 if number > 1 and index == 0 else 1,
            dtype,
            name=f"layer{number}_{index}",
        )
        for number in numbers
        for index in range(architecture.blocks[number - 1])
    ]


def pools_first(train: bool) -> bool:
    """Return true where the stem pools before it normalises, with the same output.

    In a TPU's 128 lanes its 64 channels take twice the time of every pass over them.
    """
    return train and platform.current().name == "tpu"


def stem(x: Array, dtype: str, train: bool, axis_name: str | None) -> Array:
    """Images through conv1 and bn1 of the module being built, pooled."""
    x = Conv(STEM_CHANNELS, 7, 2, ((3, 3), (3, 3)), dtype=dtype, name="conv1")(x)
    pool = max_pool if pools_first(train) else None
    x = BatchNorm(activation="relu", pool=pool, name="bn1")(x, train, axis_name)
    return max_pool(x) if pool is None else x


class Early(nn.Module):
    """The stem, layer1 and layer2: an image comes in, features at 1/8 of its size go out."""

    architecture: Architecture
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 3"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Normalised images to features."""
        x = stem(x, self.dtype, train, axis_name)
        for block in _layers(self.architecture, (1, 2), self.dtype):
            x = block(x, train, axis_name)
        return x


class Late(nn.Module):
    """layer3 and layer4: features at 1/32 of the image's size."""

    architecture: Architecture
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Features of `Early` to the features that are pooled and classified."""
        for block in _layers(self.architecture, (3, 4), self.dtype):
            x = block(x, train, axis_name)
        return x


def body(name: str, dtype: str = "float32", conv: str = "auto") -> Body:
    """The body `name` (one of BODIES), which computes its convolutions in `dtype`.

    `conv` is one of conv.LOWERINGS, for those in several groups.
    """
    architecture = ARCHITECTURES[name]._replace(conv=conv)
    early, late = Early(architecture, dtype), Late(architecture, dtype)
    channels = WIDTHS[-1] * architecture.expansion
    grouped = (("conv2", architecture.groups),) if architecture.groups > 1 else ()
    return Body(early, late, channels, TORCHVISION, 1e-5, dtype, grouped, conv)


BODIES: dict[str, Callable[[str, str], Body]] = {
    name: partial(body, name) for name in ARCHITECTURES
}
