"""Snapshot: the arrays of a checkpoint, packed and unpacked in one place."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.models.variables import GROUPS, Weights
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.cursor import Cursor


class Best(NamedTuple):
    """The best weights so far, on the host, and the validation loss of every example.

    `probabilities` are of validation, at the current phase's image size, where this process has
    measured them: a checkpoint does without.
    """

    weights: Weights
    losses: Float[np.ndarray, " examples"]
    probabilities: Float[np.ndarray, "examples classes"] | None = None


class Midway(NamedTuple):
    """State of an unfinished phase besides its weights.

    `opt_state` maps paths to arrays. `average` is of the trained groups' weights, or None.
    """

    step: int | np.ndarray
    opt_state: Mapping[str, Any]
    average: Weights | None


class Snapshot(NamedTuple):
    """Current weights of all groups, the best ones, and `midway` within a phase."""

    weights: Weights
    best: Best
    midway: Midway | None = None

    @property
    def last(self) -> Weights:
        """Latest weights for validation: the average, if one is kept."""
        if self.midway is None or self.midway.average is None:
            return self.weights
        both = zip(self.weights, self.midway.average, strict=True)
        return Weights(*({**raw, **mean} for raw, mean in both))


def pack(snapshot: Snapshot, cursor: Cursor) -> Checkpoint:
    """Return a checkpoint of these arrays, on the host, and this position."""
    state: dict[str, Any] = dict(snapshot.weights._asdict())
    if snapshot.midway is not None:
        state["opt_state"] = snapshot.midway.opt_state
        state["step"] = np.asarray(snapshot.midway.step, np.int32)
        if snapshot.midway.average is not None:
            state["average"] = snapshot.midway.average._asdict()
    best: dict[str, Any] = dict(snapshot.best.weights._asdict())
    if len(snapshot.best.losses):
        best["losses"] = snapshot.best.losses
    return Checkpoint(state, best, asdict(cursor))


def unpack(checkpoint: Checkpoint) -> Snapshot:
    """Return the arrays of a checkpoint; it omits empty ones."""
    state, best, midway = checkpoint.state, checkpoint.best, None
    if "step" in state:
        average = _weights(state["average"]) if "average" in state else None
        midway = Midway(state["step"], state.get("opt_state", {}), average)
    kept = Best(_weights(best), best.get("losses", np.zeros(0)))
    return Snapshot(_weights(state), kept, midway)


def _weights(tree: Mapping[str, Any]) -> Weights:
    """Weights of the groups that a tree has, in their order."""
    params, stats = tree["params"], tree.get("batch_stats", {})
    names = [name for name in GROUPS if name in params]
    return Weights({n: params[n] for n in names}, {n: stats.get(n, {}) for n in names})
