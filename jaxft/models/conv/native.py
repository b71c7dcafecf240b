"""XLA's own convolution, which the other lowerings are made of or replace."""

from jax import lax
from jaxtyping import Array

Pads = tuple[tuple[int, int], ...]  # (before, after) of rows and of columns


def xla_conv(x: Array, kernel: Array, stride: int, pads: Pads, groups: int = 1) -> Array:
    """Convolve NHWC images with an HWIO kernel in one operation of XLA."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
