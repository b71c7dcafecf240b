"""The interface of every body: two Linen modules, their width, their input."""

from typing import Any, NamedTuple

import flax.linen as nn

INTERPOLATIONS = ("bilinear", "bicubic")


class Preprocessing(NamedTuple):
    """Preprocessing of images that a set of weights expects.

    An image is resized by `interpolation` (one of INTERPOLATIONS, antialiased) until the middle
    `crop_fraction` of its shorter side is `image_size` pixels, and cropped to them; pixels 0..255
    in RGB then become (pixel - mean) / std, per channel. A run of jaxft takes all of the shorter
    side, unless its `fit` is another than crop (configs/base.py).
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    fit: str = "crop"


# Expected by torchvision's weights, and but for the interpolation by most of timm's.
TORCHVISION = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Body(NamedTuple):
    """A network without its classifier, cut into the layer groups `early` and `late`.

    Both modules are called as `module.apply(variables, x, train=..., axis_name=...)` on NHWC images
    or features. `channels` is the width of the output of `late`, `eps` BatchNorm's; `grouped` holds
    the names of the convolutions in several groups, depthwise ones aside, and the numbers of their
    groups; `conv` is their lowering (one of LOWERINGS).
    """

    early: nn.Module
    late: nn.Module
    channels: int
    preprocessing: Preprocessing
    eps: float = 1e-5
    dtype: str = "float32"
    grouped: tuple[tuple[str, int], ...] = ()
    conv: str = "auto"


def compute_dtype(given: Any, dtype: str) -> Any:
    """Return the dtype in which a body of `dtype` computes on given arrays: float64 on float64."""
    return given if given == "float64" else dtype
