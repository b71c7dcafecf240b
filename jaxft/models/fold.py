"""A frozen body in its fastest form: BatchNorm in the kernels, kernels packed for the platform."""

import re
from collections.abc import Mapping
from typing import Any

from jax import lax
from jaxtyping import Array, Float

from jaxft.models.body import Body, compute_dtype
from jaxft.models.conv.kernel import pack
from jaxft.models.conv.lowerings import choose
from jaxft.models.conv.native import Kernel

Tree = dict[str, Any]


def fold(body: Body, params: Mapping[str, Any], stats: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """Fold parameters and statistics of frozen groups for inference, the same to rounding.

    A convolution and the BatchNorm after it, y = s (w * x - m) / sqrt(v + eps) + b, become one
    kernel, s w / sqrt(v + eps), and one offset, b - s m / sqrt(v + eps). The kernel comes in the
    body's compute dtype and, where it is grouped, packed for the platform (`pack`); the offset
    stays in float32. None of this work is repeated in each batch.

    Args:
      body: the body of these groups.
      params, stats: some of the groups early and late; a head is passed through.

    Returns:
      (params, stats) that the body's modules accept like unfolded ones; they cannot train.
    """
    folded, left = {}, {}
    for group, tree in params.items():
        whole = tree, stats[group]
        folded[group], left[group] = whole if group == "head" else _folded(body, *whole)
    return folded, left


def _folded(body: Body, params: Mapping[str, Any], stats: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """Fold one module; a convolution or a BatchNorm without the other stays as it is."""
    result: Tree = {}
    left: Tree = {}
    for name, tree in params.items():
        norm = params.get(norm_after(name), {}) if "kernel" in tree else {}
        if "scale" in norm:
            after = norm_after(name)
            kernel, offset = _join(body, tree["kernel"], norm, stats[after])
            packed = _packed(kernel, dict(body.grouped).get(name, 1), body.conv)
            result[name] = {"folded": packed.astype(compute_dtype(packed.dtype, body.dtype))}
            result[after] = {"offset": offset}
        elif all(isinstance(value, Mapping) for value in tree.values()):
            result[name], left[name] = _folded(body, tree, stats.get(name, {}))
    for name, tree in params.items():
        if name not in result:
            result[name] = tree
            if name in stats:
                left[name] = stats[name]
    return result, left


def norm_after(conv: str) -> str:
    """Return the name of the BatchNorm after a convolution: conv1 -> bn1, stem_conv -> stem_bn."""
    return "downsample_1" if conv == "downsample_0" else re.sub("conv", "bn", conv)


def _join(
    body: Body, kernel: Array, params: Mapping[str, Array], stats: Mapping[str, Array]
) -> tuple[Array, Float[Array, " out"]]:
    factor = params["scale"] * lax.rsqrt(stats["var"] + body.eps)
    return kernel * factor, params["bias"] - stats["mean"] * factor


def _packed(kernel: Array, groups: int, lowering: str) -> Kernel:
    """Pack the kernel in fewer and wider groups, where the platform is faster with them."""
    if groups == 1:
        return kernel
    _, width = choose(kernel.shape, groups, lowering)
    return pack(kernel, groups, width)
