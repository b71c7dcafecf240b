"""Parameters and statistics of a model, by layer group."""

from typing import Any, NamedTuple

import jax

from jaxft.recipe import groups

GROUPS = ("early", "late", "head")  # the layer groups of every model


class Weights(NamedTuple):
    """Parameters and BatchNorm statistics by layer group.

    As the argument `frozen` they are those of the groups that do not train in a phase; no step
    returns them.
    """

    params: groups.Tree
    batch_stats: groups.Tree


def param_dtype(params: groups.Tree) -> Any:
    """Return the dtype that the parameters share."""
    return jax.tree.leaves(params)[0].dtype
