"""EfficientNet-Lite0, as its PyTorch original computes it (TensorFlow's SAME, eps 1e-3, ReLU6).

Tan and Le, 2019 (arXiv:1905.11946); Lite drops squeeze-and-excitation and swaps swish for ReLU6.

Parameters, and the names of the original's `state_dict`:
    early: stem_conv/kernel (_conv_stem), stem_bn/{scale,bias} (_bn0), block00 ... block07
    late: block08 ... block15, head_conv/kernel (_conv_head), head_bn/{scale,bias} (_bn1)
    blockNN: expand_conv, expand_bn (_expand_conv, _bn0; not in block00), depthwise_conv,
        depthwise_bn (_depthwise_conv, _bn1), project_conv, project_bn (_project_conv, _bn2)
"""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jaxft.models.body import Body, Preprocessing
from jaxft.models.conv.convolution import Conv
from jaxft.models.norm.layer import BatchNorm


class Stage(NamedTuple):
    """A row of the paper's table 1: `repeats` blocks, of which the first has the stride."""

    repeats: int
    size: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
EARLY_STAGES = 4
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
EPS = 1e-3


class Block(nn.Module):
    """A mobile inverted bottleneck: 1x1 expansion, depthwise, 1x1 projection, and a shortcut."""

    size: int
    stride: int
    expand: int
    channels: int
    dtype: str = "float32"
    conv: str = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Run one block; it has a shortcut where the shape does not change."""
        inside = x.shape[-1] * self.expand
        y = x
        if self.expand > 1:
            y = Conv(inside, dtype=self.dtype, name="expand_conv")(y)
            y = BatchNorm(EPS, activation="relu6", name="expand_bn")(y, train, axis_name)
        y = Conv(
            inside,
            self.size,
            self.stride,
            groups=inside,
            dtype=self.dtype,
            lowering=self.conv,
            name="depthwise_conv",
        )(y)
        y = BatchNorm(EPS, activation="relu6", name="depthwise_bn")(y, train, axis_name)
        y = Conv(self.channels, dtype=self.dtype, name="project_conv")(y)
        y = BatchNorm(EPS, name="project_bn")(y, train, axis_name)
        return x + y if x.shape == y.shape else y


def blocks(first_stage: int, last_stage: int, dtype: str, conv: str) -> list[Block]:
    """Create the blocks of stages `first_stage` to `last_stage` (from 0, the last one excluded).

    Their names are their places in the whole network, block00 to block15.
    """
    rows = [
        (number, stage.stride if repeat == 0 else 1, stage)
        for number, stage in enumerate(STAGES)
        for repeat in range(stage.repeats)
    ]
    return [
        Block(stage.size, stride, stage.expand, stage.channels, dtype, conv, name=f"block{i:02d}")
        for i, (number, stride, stage) in enumerate(rows)
        if first_stage <= number < last_stage
    ]


class Early(nn.Module):
    """The stem and stages 1 to 4: an image comes in, 80 channels at 1/16 of its size go out."""

    dtype: str = "float32"
    conv: str = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 3"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width 80"]:
        """Turn normalised images into features."""
        x = Conv(STEM_CHANNELS, 3, 2, dtype=self.dtype, name="stem_conv")(x)
        x = BatchNorm(EPS, activation="relu6", name="stem_bn")(x, train, axis_name)
        for block in blocks(0, EARLY_STAGES, self.dtype, self.conv):
            x = block(x, train, axis_name)
        return x


class Late(nn.Module):
    """Stages 5 to 7 and the 1x1 head convolution: 1280 channels at 1/32 of the image's size."""

    dtype: str = "float32"
    conv: str = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 80"], train: bool, axis_name: str | None = None
    ) -> Float[Array, "batch out_height out_width 1280"]:
        """Turn the features of `Early` into those that are pooled and classified."""
        for block in blocks(EARLY_STAGES, len(STAGES), self.dtype, self.conv):
            x = block(x, train, axis_name)
        x = Conv(HEAD_CHANNELS, dtype=self.dtype, name="head_conv")(x)
        return BatchNorm(EPS, activation="relu6", name="head_bn")(x, train, axis_name)


def body(name: str, dtype: str = "float32", conv: str = "auto") -> Body:
    """Create the body `name` (one of BODIES), which computes its convolutions in `dtype`.

    `conv` is one of LOWERINGS, for the depthwise convolutions.
    """
    return BODIES[name](dtype, conv)


def _lite0(dtype: str, conv: str) -> Body:
    # The original's input is (pixel - 127) / 128 in RGB.
    preprocessing = Preprocessing((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
    early, late = Early(dtype, conv), Late(dtype, conv)
    return Body(early, late, HEAD_CHANNELS, preprocessing, EPS, dtype, conv=conv)


BODIES = {"efficientnet_lite0": _lite0}
