"""The two kinds of residual blocks.

Their parameters: conv1, bn1, conv2, bn2 (, conv3, bn3) (, downsample_0, downsample_1).
"""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jaxft.models.bodies.resnet.architecture import Architecture
from jaxft.models.bodies.resnet.residual import add_relu, fork
from jaxft.models.conv.layer import Conv
from jaxft.models.conv.parts import parts
from jaxft.models.norm.layer import BatchNorm


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
        """One block."""
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
        """One block."""
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
    """convN and bnN of the block being built."""
    channels, size, stride, groups, lowering, split = convolution
    edge = (size // 2, size // 2)
    name = f"conv{number}"
    conv = Conv(
        channels, size, stride, (edge, edge), groups, given.dtype, lowering, split, name=name
    )
    norm = BatchNorm(activation=activation, parts=split, name=f"bn{number}")
    return norm(conv(x), given.train, given.axis_name)


def _shortcut(x: Array, few: Array | None, channels: int, stride: int, given: Pass) -> Array:
    """The block's input, through a 1x1 convolution where the block changes its shape.

    `few` are the pixels of x that this reads, where `fork` has taken them.
    """
    if stride == 1 and x.shape[-1] == channels:
        return x
    x, stride = (x, stride) if few is None else (few, 1)
    edge = (0, 0)
    x = Conv(channels, 1, stride, (edge, edge), dtype=given.dtype, name="downsample_0")(x)
    return BatchNorm(name="downsample_1")(x, given.train, given.axis_name)
