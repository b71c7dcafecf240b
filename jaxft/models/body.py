"""What every body offers to the rest of jaxft: two Linen modules, their width, their input."""

from typing import NamedTuple

import flax.linen as nn


class Preprocessing(NamedTuple):
    """How pixels 0..255 in RGB become the network's input: (pixel - mean) / std, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# Of ImageNet's pixels, as torchvision's and most of timm's weights expect them.
IMAGENET_STATISTICS = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Body(NamedTuple):
    """A network without its classifier, cut into the layer groups `early` and `late`.

    Both modules are called `module.apply(variables, x, train=..., axis_name=...)` on NHWC images
    or features; `channels` is the width of what `late` returns, `eps` BatchNorm's, `grouped` the
    names of the convolutions in more than one group, depthwise ones aside, with their numbers,
    `conv` how they are lowered (one of conv.LOWERINGS).
    """

    early: nn.Module
    late: nn.Module
    channels: int
    preprocessing: Preprocessing
    eps: float = 1e-5
    dtype: str = "float32"
    grouped: tuple[tuple[str, int], ...] = ()
    conv: str = "auto"
