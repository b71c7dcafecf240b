"""Convolutions of one group: XLA's own, or the faster forms on CPU."""

from jaxtyping import Array

from jaxft.devices import platform
from jaxft.models.conv.native import Kernel, Pads, Shape, is_outsized, patches, xla_conv
from jaxft.models.varying import alike_varying


def ungrouped(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Convolve in one group: on CPU by the first of UNGROUPED_ON_CPU that applies."""
    if platform.current().name == "cpu":
        for applies, lowering in UNGROUPED_ON_CPU:
            if applies(x.shape[1:3], kernel.shape, stride, pads):
                x, kernel = alike_varying(x, kernel)
                return lowering(x, kernel, stride, pads)
    return xla_conv(x, kernel, stride, pads)


def pointwise(x: Array, kernel: Kernel, stride: int, pads: Pads) -> Array:
    """Convolve 1x1 without padding, as a matrix product."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)


def _is_pointwise(image: Shape, kernel: Shape, stride: int, pads: Pads) -> bool:
    return kernel[:2] == (1, 1) and not any(map(any, pads))


def _has_few_channels(image: Shape, kernel: Shape, stride: int, pads: Pads) -> bool:
    return kernel[2] <= 4


# (applies to, lowering) of kernels of one group on CPU, the first that applies; else XLA's own.
UNGROUPED_ON_CPU = (
    (_is_pointwise, pointwise),
    (_has_few_channels, patches),
    (is_outsized, patches),
)
