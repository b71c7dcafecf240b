"""Channels in parts, as `parts` (lowerings.py) keeps them apart before a grouped convolution."""

from jax import lax
from jaxtyping import Array

from jaxft.models.conv.native import Kernel


def in_parts(x: Array, count: int) -> Array:
    """Split the last axis in two, parts and channels of a part; one part leaves x as it is."""
    return x if count == 1 else x.reshape(*x.shape[:-1], count, -1)


def pointwise_in_parts(x: Array, kernel: Kernel, count: int) -> Array:
    """Convolve 1x1 without padding and stride, and make the outputs in `count` parts."""
    product = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, in_parts(kernel[0, 0], count), product).reshape(*x.shape[:-1], -1)
