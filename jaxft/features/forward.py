"""Forward: the inference functions of a model, jitted."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array

from jaxft.models.variables import Weights


class Forward(NamedTuple):
    """Jitted inference of a model on a mesh.

    `features(weights, canvases)` -> [B, F]; `views(weights, canvases, index, *View)` -> the
    features of a random view; `groups(weights, canvases)` -> [B, E + F], the pooled output of
    `early` and, beside it, the features; `logits(weights, features)` -> [B, classes];
    `fold(weights)` -> the weights that the others but `logits` take, once for many batches
    (models/fold.py). Weights are a Weights of all groups, batches are divided over the mesh.
    """

    fold: Callable[[Weights], Weights]
    features: Callable[..., Array]
    views: Callable[..., Array]
    groups: Callable[..., Array]
    logits: Callable[..., Array]
