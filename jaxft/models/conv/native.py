"""XLA's own convolution, which the other lowerings are made of or replace."""

from typing import cast

import numpy as np
from jax import lax
from jaxtyping import Array

Kernel = Array | np.ndarray  # NumPy's where a program has its weights as constants
Pads = tuple[tuple[int, int], ...]  # (before, after) of rows and of columns


def xla_conv(x: Array, kernel: Kernel, stride: int, pads: Pads, groups: int = 1) -> Array:
    """Convolve NHWC images with an HWIO kernel in one operation of XLA."""
    return lax.conv_general_dilated(
        x,
        cast(Array, kernel),
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
