"""The convolution layer of every body."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxft.models.conv.convolution import conv
from jaxft.models.conv.parts import pointwise_in_parts


def compute_dtype(given: Any, dtype: str) -> Any:
    """Return the dtype in which a body of `dtype` computes on given arrays: float64 on float64."""
    return given if given == "float64" else dtype


class Conv(nn.Module):
    """A convolution without bias; its one parameter is `kernel`, in HWIO order, float32.

    A 1x1 convolution makes its outputs in as many `parts`, see the function of that name.
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

    def _convolve(self, x: Array, kernel: Array, groups: int) -> Array:
        if self.parts > 1:
            return pointwise_in_parts(x, kernel, self.parts)
        return conv(x, kernel, self.stride, self.padding, groups, self.lowering)
