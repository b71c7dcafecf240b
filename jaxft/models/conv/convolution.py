"""Convolution with one meaning and several lowerings, the fastest for each platform."""

from collections.abc import Sequence

from jax import lax
from jaxtyping import Array, Float

from jaxft.devices import platform
from jaxft.models.conv.blocks import blocks
from jaxft.models.conv.kernel import pack, without_idle_places
from jaxft.models.conv.lowerings import choose
from jaxft.models.conv.native import xla_conv
from jaxft.models.conv.shifts import shifts
from jaxft.models.conv.strided import strided_conv
from jaxft.models.conv.ungrouped import ungrouped
from jaxft.models.varying import alike_varying


def conv(
    x: Float[Array, "batch height width in_channels"],
    kernel: Float[Array, "kernel_height kernel_width group_in_channels out_channels"],
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
    kernel, pads = without_idle_places(kernel, x.shape, stride, pads)
    if groups == 1:
        return ungrouped(x, kernel, stride, pads)
    way, width = choose(kernel.shape, groups, lowering)
    if way == "shifts":
        return shifts(*alike_varying(x, kernel), stride, pads)
    if way == "blocks":
        return blocks(x, kernel, stride, pads, groups, width)
    kernel, groups = pack(kernel, groups, width), kernel.shape[2] * groups // width
    if stride > 1 and platform.current().name == "gpu":
        return strided_conv(*alike_varying(x, kernel), stride, pads, groups)
    return xla_conv(x, kernel, stride, pads, groups)
