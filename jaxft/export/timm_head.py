"""Heads in PyTorch's names and layout, and in timm's order of the pooled features."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxft.models.weights.torch_layout import from_torch_layout, to_torch_layout
from jaxft.models.weights.torch_names import LEAVES, Params, Stats

STATISTICS = ("mean", "var")
COUNTER = "num_batches_tracked"


def turned(head: Mapping[str, Any], pooling: str) -> Params:
    """Exchange what meets the maxima and what meets the averages in a head's first layers.

    A head is a tree of parameters or of statistics; there and back are the same exchange.
    """
    if pooling == "avg":
        return dict(head)

    def halves(leaf: str, array: np.ndarray, layer: str) -> np.ndarray:
        if not layer.endswith("0") or (layer.startswith("linear") and leaf == "bias"):
            return array
        half = len(array) // 2
        return np.concatenate([array[half:], array[:half]])

    return {
        layer: {leaf: halves(leaf, np.asarray(array), layer) for leaf, array in leaves.items()}
        for layer, leaves in head.items()
    }


def to_head_file(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return a head's arrays by their names in the `state_dict` of head.py's module."""
    arrays = {
        f"{layer}.{LEAVES[leaf]}": to_torch_layout(np.asarray(array))
        for tree in (params, stats)
        for layer, leaves in tree.items()
        for leaf, array in leaves.items()
    }
    return with_counters(arrays)


def with_counters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the number of batches that each BatchNorm has seen, which nobody knows: 0."""
    norms = [name.rpartition(".")[0] for name in arrays if name.endswith("running_mean")]
    return {**arrays, **{f"{norm}.{COUNTER}": np.zeros((), np.int64) for norm in norms}}


def from_head_file(arrays: Mapping[str, np.ndarray]) -> tuple[Params, Stats]:
    """Return a head's parameters and statistics; the inverse of `to_head_file`."""
    params: Params = {}
    stats: Stats = {}
    for name, array in arrays.items():
        layer, _, torch_leaf = name.rpartition(".")
        if torch_leaf == COUNTER:
            continue
        weight = "kernel" if layer.startswith("linear") else "scale"
        leaf = {**{told: own for own, told in LEAVES.items()}, "weight": weight}[torch_leaf]
        tree = stats if leaf in STATISTICS else params
        tree.setdefault(layer, {})[leaf] = from_torch_layout(array)
    return params, stats
