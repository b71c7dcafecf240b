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
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES, WIDTHS, Architecture
from jaxft.models.bodies.resnet.residual import add_relu, fork
from jaxft.models.body import TORCHVISION, Body
from jaxft.models.conv.convolution import Conv
from jaxft.models.conv.lowerings import parts
from jaxft.models.max_pool import max_pool
from jaxft.models.norm.layer import BatchNorm

STEM_CHANNELS = 64


class Convolution(NamedTuple):
    """A convolution of a block, padded as PyTorch pads (size // 2 on each side)."""

    channels: int
    size: int = 1
    stride: int = 1
    groups: int = 1
    lowering: str = "auto"
    parts: int = 1


class Pass(NamedTuple):
    """One pass through a block: the compute dtype, training or inference, the mesh axis."""

    dtype: str
    train: bool
    axis_name: str | None


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
        """Run one block."""
        given = Pass(self.dtype, train, axis_name)
        x, few = fork(x, self.stride) if train else (x, None)
        y = _conv_bn(x, 1, Convolution(self.width, 3, self.stride), given)
        y = _conv_bn(y, 2, Convolution(self.width, 3), given, activation="none")
        shortcut = _shortcut(x, few, self.width, self.stride, given)
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
        """Run one block."""
        given = Pass(self.dtype, train, axis_name)
        groups, lowering = self.architecture.groups, self.architecture.conv
        inside = self.width * self.architecture.group_width // 64 * groups
        outside = self.width * self.architecture.expansion
        x, few = fork(x, self.stride) if train else (x, None)
        split = parts(inside, groups, lowering) if train else 1
        y = _conv_bn(x, 1, Convolution(inside, parts=split), given)
        y = _conv_bn(y, 2, Convolution(inside, 3, self.stride, groups, lowering), given)
        y = _conv_bn(y, 3, Convolution(outside), given, activation="none")
        shortcut = _shortcut(x, few, outside, self.stride, given)
        return add_relu(shortcut, y)


def _conv_bn(
    x: Array, number: int, convolution: Convolution, given: Pass, activation: str = "relu"
) -> Array:
    """Run convN and bnN of the block being built."""
    channels, size, stride, groups, lowering, split = convolution
    edge = (size // 2, size // 2)
    name = f"conv{number}"
    conv = Conv(
        channels, size, stride, (edge, edge), groups, given.dtype, lowering, split, name=name
    )
    norm = BatchNorm(activation=activation, parts=split, name=f"bn{number}")
    return norm(conv(x), given.train, given.axis_name)


def _shortcut(x: Array, few: Array | None, channels: int, stride: int, given: Pass) -> Array:
    """Run the block's input through a 1x1 convolution where the block changes its shape.

    `few` are the pixels of x that the convolution reads, where `fork` has taken them.
    """
    if stride == 1 and x.shape[-1] == channels:
        return x
    x, stride = (x, stride) if few is None else (few, 1)
    edge = (0, 0)
    x = Conv(channels, 1, stride, (edge, edge), dtype=given.dtype, name="downsample_0")(x)
    return BatchNorm(name="downsample_1")(x, given.train, given.axis_name)


def stem(x: Array, dtype: str, train: bool, axis_name: str | None) -> Array:
    """Run conv1 and bn1 of the module being built on images, and pool."""
    x = Conv(STEM_CHANNELS, 7, 2, ((3, 3), (3, 3)), dtype=dtype, name="conv1")(x)
    pool = max_pool if pools_first(train) else None
    x = BatchNorm(activation="relu", pool=pool, name="bn1")(x, train, axis_name)
    return max_pool(x) if pool is None else x


def pools_first(train: bool) -> bool:
    """Return true where the stem pools before it normalises, with the same output.

    In a TPU's 128 lanes its 64 channels take twice the time of every pass over them.
    """
    return train and platform.current().name == "tpu"


class Early(nn.Module):
    """The stem, layer1 and layer2: an image comes in, features at 1/8 of its size go out."""

    architecture: Architecture
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 3"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Turn normalised images into features."""
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
        """Turn the features of `Early` into those that are pooled and classified."""
        for block in _layers(self.architecture, (3, 4), self.dtype):
            x = block(x, train, axis_name)
        return x


def _layers(
    architecture: Architecture, numbers: tuple[int, ...], dtype: str
) -> list[BasicBlock | Bottleneck]:
    """Create the blocks of layers `numbers` (from 1); each layer but the first halves the image."""
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


def body(name: str, dtype: str = "float32", conv: str = "auto") -> Body:
    """Create the body `name` (one of BODIES), which computes its convolutions in `dtype`.

    `conv` is one of LOWERINGS, for the convolutions in several groups.
    """
    architecture = ARCHITECTURES[name]._replace(conv=conv)
    early, late = Early(architecture, dtype), Late(architecture, dtype)
    channels = WIDTHS[-1] * architecture.expansion
    grouped = (("conv2", architecture.groups),) if architecture.groups > 1 else ()
    return Body(early, late, channels, TORCHVISION, 1e-5, dtype, grouped, conv)


BODIES: dict[str, Callable[[str, str], Body]] = {
    name: partial(body, name) for name in ARCHITECTURES
}
