"""Convolution with one meaning and several lowerings, the fastest for each platform."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width group_in_channels out_channels"],
    stride: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolves NHWC images with an HWIO kernel; `SAME` pads as TensorFlow does."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32."""

    channels: int
    size: int = 1
    stride: int = 1
    padding: Padding = "SAME"
    groups: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Convolves in `dtype`, or in the wider of it and float64 where `x` is float64."""
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.channels)
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape)
        dtype = x.dtype if x.dtype == "float64" else self.dtype
        return conv(x.astype(dtype), kernel.astype(dtype), self.stride, self.padding, self.groups)
