"""ResNet and ResNeXt as torchvision computes them (v1.5: the stride sits in the 3x3 convolution).

He et al., 2015 (arXiv:1512.03385); Xie et al., 2016 (arXiv:1611.05431).

Parameters carry torchvision's names, with "_" where its `state_dict` has ".":
    early: conv1, bn1, layer1_N, layer2_N
    late: layer3_N, layer4_N
    layerS_N: conv1, bn1, conv2, bn2 (, conv3, bn3) (, downsample_0, downsample_1)
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jaxtyping import Array, Float

from jaxft.models.bodies.resnet.architecture import ARCHITECTURES, WIDTHS, Architecture
from jaxft.models.bodies.resnet.block import BasicBlock, Bottleneck
from jaxft.models.bodies.resnet.stem import stem
from jaxft.models.body import TORCHVISION, Body


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


def body(name: str, dtype: str = "float32", conv: str = "auto") -> Body:
    """The body `name` (one of BODIES), which computes its convolutions in `dtype`.

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
