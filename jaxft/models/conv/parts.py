"""Channels in parts: the groups of a TPU's grouped convolution, kept apart before it, too."""

from jax import lax
from jaxtyping import Array

from jaxft.devices import platform
from jaxft.models.conv.lowerings import choose

LANES = 128  # numbers beside each other in a register of TPU


def parts(channels: int, groups: int, lowering: str = "auto") -> int:
    """Return the number of parts in which the channels before a grouped convolution are best kept.

    TPU's compiler gives each group of such a convolution tiles of its own. The layers before it, a
    1x1 convolution and its BatchNorm, it writes in another layout, and rewrites on the way in and
    on the way back; unless they are made group by group, `in_parts`. Then it even normalises inside
    the grouped convolution. 1 where there is nothing to gain: no TPU, or groups that fill no tile.
    """
    if platform.current().name != "tpu" or groups == 1:
        return 1
    _, width = choose((3, 3, channels // groups, channels), groups, lowering)
    return channels // width if width % LANES == 0 else 1


def in_parts(x: Array, count: int) -> Array:
    """Split the last axis in two, parts and channels of a part; one part leaves x as it is."""
    return x if count == 1 else x.reshape(*x.shape[:-1], count, -1)


def pointwise_in_parts(x: Array, kernel: Array, count: int) -> Array:
    """Convolve 1x1 without padding and stride, and make the outputs in `count` parts."""
    product = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, in_parts(kernel[0, 0], count), product).reshape(*x.shape[:-1], -1)
