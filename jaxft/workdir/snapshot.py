"""Weights out of a checkpoint."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxft.models import GROUPS
from jaxft.models.variables import Weights


def weights_of(tree: Mapping[str, Any], names: Iterable[str] = GROUPS) -> Weights:
    """Return some groups' weights from a checkpoint's item, which leaves out empty dicts."""
    params, stats = tree["params"], tree.get("batch_stats", {})
    return Weights({n: params[n] for n in names}, {n: stats.get(n, {}) for n in names})


def last_weights(state: Mapping[str, Any]) -> Weights:
    """Return the weights that validate from a checkpoint's state: the average, if one is kept."""
    weights = weights_of(state)
    if "average" not in state:
        return weights
    average = weights_of(state["average"], state["average"]["params"])
    return Weights(*({**raw, **mean} for raw, mean in zip(weights, average, strict=True)))
