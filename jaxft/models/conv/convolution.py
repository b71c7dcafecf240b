"""Convolution with one meaning and several lowerings, the fastest for each platform."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jax import lax
from jaxtyping import Array, Float

from jaxft.models.body import compute_dtype
from jaxft.models.conv.blocks import blocks
from jaxft.models.conv.kernel import pack
from jaxft.models.conv.lowerings import choose
from jaxft.models.conv.native import Kernel, xla_conv
from jaxft.models.conv.padding import without_idle_places
from jaxft.models.conv.parts import pointwise_in_parts
from jaxft.models.conv.shifts import shifts
from jaxft.models.conv.ungrouped import ungrouped
from jaxft.models.varying import alike_varying


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Kernel, "kernel_height kernel_width group_in_channels out_channels"],
    stride: int = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    groups: int = 1,
    lowering: str = "auto",
) -> Float[Array, "batch out_height out_width out_channels"]:
    """Convolve NHWC images with an HWIO kernel.

    `padding` is "SAME" (as TensorFlow pads), "VALID", or ((top, bottom), (left, right)).
    `lowering` is one of LOWERINGS for a kernel of several groups; see `choose`.
    """
    strides = (stride, stride)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    kernel, pads = without_idle_places(kernel, x.shape[1:3], stride, pads)
    if groups == 1:
        return ungrouped(x, kernel, stride, pads)
    way, width = choose(kernel.shape, groups, lowering)
    if way == "shifts":
        return shifts(*alike_varying(x, kernel), stride, pads)
    if way == "blocks":
        return blocks(x, kernel, stride, pads, groups, width)
    kernel, groups = pack(kernel, groups, width), kernel.shape[2] * groups // width
    return xla_conv(x, kernel, stride, pads, groups)


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32.

    A 1x1 convolution makes its outputs in `parts`, see the function of that name.
    """

    channels: int
    size: int = 1
    stride: int = 1
    padding: str | Sequence[tuple[int, int]] = "SAME"
    groups: int = 1
    dtype: str = "float32"
    lowering: str = "auto"
    parts: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width in"]) -> Array:
        """Convolve in `dtype`, or in the wider of it and float64 where `x` is float64."""
        dtype = compute_dtype(x.dtype, self.dtype)
        if self.has_variable("params", "folded"):  # with BatchNorm in it and packed, see fold.py
            folded: Array = self.get_variable("params", "folded")
            groups = x.shape[-1] // folded.shape[2]
            return self._convolve(x.astype(dtype), folded.astype(dtype), groups)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.channels)
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape)
        return self._convolve(x.astype(dtype), kernel.astype(dtype), self.groups)

    def _convolve(self, x: Array, kernel: Kernel, groups: int) -> Array:
        if self.parts > 1:
            return pointwise_in_parts(x, kernel, self.parts)
        return conv(x, kernel, self.stride, self.padding, groups, self.lowering)
