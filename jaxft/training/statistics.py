"""Statistics of BatchNorm layers as trees of NumPy arrays: pooled, compared, put into weights.

That every BatchNorm may have the statistics of its input, with the scale and bias that leave its
output as it was:

    scale (x - mean) / sqrt(var + eps) + bias

is the same function of x for the new mean and var if scale becomes scale * ratio, ratio =
sqrt(new var + eps) / sqrt(var + eps), and bias becomes bias + scale * (new mean - mean) /
sqrt(var + eps).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxft.recipe import groups
from jaxft.runtime import digests

EPS = 1e-3  # added to variances whose distributions are compared: some channels are always zero


def pooled(moments: list[groups.Tree]) -> groups.Tree:
    """Mean and variance over all batches, from each batch's, in trees of float64."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float64), *moments)

    def pool(tree: Any) -> Any:
        if "var" not in tree:
            return {name: pool(subtree) for name, subtree in tree.items()}
        mean, var = tree["mean"], tree["var"]
        return {"mean": mean.mean(0), "var": var.mean(0) + mean.var(0)}

    return {group: pool(tree) for group, tree in stacked.items()}


def settled(old: groups.Tree, new: groups.Tree, share: float) -> groups.Tree:
    """Statistics of the trained groups: of the body a share of those measured, of the head all.

    Args:
      old: as the state has them.
      new: mean and variance by the same paths; may have other groups, too.
      share: of the measured ones, 0 to 1; the rest stays.
    """

    def blend(part: float, before: np.ndarray, measured: np.ndarray) -> np.ndarray:
        return np.asarray(part * measured + (1 - part) * before).astype(before.dtype)

    return {
        group: jax.tree.map(partial(blend, 1.0 if group == "head" else share), tree, new[group])
        for group, tree in old.items()
    }


def distance(before: groups.Tree, now: groups.Tree) -> float:
    """Measure how far a body's inputs are from those that its statistics stand for.

    Returns:
      The divergence of the normal distributions with the statistics `now` from those with `before`,
      KL(now || before) in nats, mean over the channels of each layer and then over the layers.
    """
    had, has = digests.flat(before), digests.flat(now)
    layers = [name.removesuffix("mean") for name in had if name.endswith("mean")]
    return float(np.mean([_divergence(had, has, layer).mean() for layer in layers]))


def _divergence(
    had: Mapping[str, Any], has: Mapping[str, Any], layer: str
) -> Float[np.ndarray, " channels"]:
    var, other = (np.asarray(one[f"{layer}var"], np.float64) + EPS for one in (has, had))
    moved = np.asarray(has[f"{layer}mean"]) - np.asarray(had[f"{layer}mean"])
    nats: np.ndarray = ((var + moved**2) / other - 1 - np.log(var / other)) / 2
    return nats


def with_statistics(
    params: Mapping[str, Any], stats: Mapping[str, Any], new: Mapping[str, Any], eps: float
) -> tuple[groups.Tree, groups.Tree]:
    """Parameters and statistics of the same function with new statistics.

    Args:
      params: of a module and all modules below it.
      stats: of its BatchNorms, in the same places; kept if `new` has none.
      new: statistics to have instead.
      eps: BatchNorm's.
    """
    if "var" in new:
        return _renormalised(params, stats, new, eps)
    params, stats = dict(params), dict(stats)
    for name in new:
        params[name], stats[name] = with_statistics(params[name], stats[name], new[name], eps)
    return params, stats


def _renormalised(
    params: Mapping[str, Any], stats: Mapping[str, Any], new: Mapping[str, Any], eps: float
) -> tuple[groups.Tree, groups.Tree]:
    """As `with_statistics`, of one BatchNorm, in float64."""
    scale, bias, mean, var = (
        np.asarray(a, np.float64)
        for a in (params["scale"], params["bias"], stats["mean"], stats["var"])
    )
    factor = scale / np.sqrt(var + eps)
    found = {
        "scale": factor * np.sqrt(new["var"] + eps),
        "bias": bias + factor * (new["mean"] - mean),
    }
    dtype = params["scale"].dtype
    return (
        {name: value.astype(dtype) for name, value in found.items()},
        {name: np.asarray(new[name]).astype(stats[name].dtype) for name in ("mean", "var")},
    )
