"""Strided convolutions in groups, with gradients in calls that cuDNN has."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxft.models.conv.native import Pads, xla_conv


def _strided_forward(
    x: Array, kernel: Array, stride: int, pads: Pads, groups: int
) -> tuple[Array, tuple[Array, Array]]:
    return strided_conv(x, kernel, stride, pads, groups), (x, kernel)


def _strided_backward(
    stride: int, pads: Pads, groups: int, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """Both gradients of a strided convolution in groups.

    XLA has no such call for the gradient of the input: it would spread dy out with zeros and
    convolve that, stride squared times the work. Here one convolution of dy gives the pixels of
    every phase (row and column modulo the stride) as channels of their own; tiles have room for
    them where groups have few channels.
    """
    x, kernel = residuals
    dk = jax.vjp(lambda k: xla_conv(x, k, stride, pads, groups), kernel)[1](dy)[0]
    sides = zip(kernel.shape[:2], x.shape[1:3], dy.shape[1:3], pads, strict=True)
    down, right = (_phases(*side, stride) for side in sides)
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # the last place weighs nothing
    places = padded[down.places[:, None, :, None], right.places[:, None]]
    inside = kernel.shape[2]
    places = places.reshape(*places.shape[:4], inside, groups, -1).transpose(2, 3, 6, 5, 0, 1, 4)
    matrix = places.reshape(*places.shape[:3], -1)
    edges = ((down.pad, down.pad), (right.pad, right.pad))
    found = xla_conv(dy, matrix, 1, edges, groups)
    found = found.reshape(*found.shape[:3], groups, stride, stride, inside)
    zero, dx = jnp.zeros((), dy.dtype), []
    for i, j in np.ndindex(stride, stride):
        part = found[..., i, j, :].reshape(*found.shape[:3], -1)
        dx.append(lax.pad(part, zero, [(0, 0, 0), down.spread(i), right.spread(j), (0, 0, 0)]))
    return sum(dx[1:], dx[0]), dk


class _Phases(NamedTuple):
    """Along one side, the geometry of the convolution that undoes a strided one.

    `places` [stride, size]: for each phase its places in the strided kernel, one beyond the last
    where it has none. `pad` is the same before and after, as cuDNN requires; `begin` is the first
    result's pixel for phase 0, before the first pixel of the image; `length` is the image's,
    `found` the number of results.
    """

    places: np.ndarray
    pad: int
    begin: int
    length: int
    found: int

    def spread(self, phase: int) -> tuple[int, int, int]:
        """Padding (before, after, between) that spreads the results over a phase's pixels."""
        stride = len(self.places)
        before = self.begin + phase
        return before, self.length - before - (self.found - 1) * stride - 1, stride - 1


def _phases(size: int, length: int, out: int, edges: tuple[int, int], stride: int) -> _Phases:
    # Pixel stride i + phase lies at place `phase + low - stride d` of the window i + d.
    low = edges[0]
    at = np.arange(stride)[:, None] + low - stride * np.arange(-size - low, size + low + 1)
    reached = np.flatnonzero(((at >= 0) & (at < size)).any(0))
    first, last = reached[0], reached[-1]
    at = at[:, first : last + 1]
    before, count = size + low - int(first), last - first + 1  # the first window is i - before
    pad = max(before, -(-length // stride) + count - 1 - before - out, 0)
    places = np.where((at >= 0) & (at < size), at, size)
    return _Phases(places, pad, (before - pad) * stride, length, out + 2 * pad - int(count) + 1)


strided_conv = partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))(xla_conv)
strided_conv.defvjp(_strided_forward, _strided_backward)
