"""State, batches and keys of the train step."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

from jaxft.models.variables import Weights
from jaxft.recipe import groups


class TrainState(NamedTuple):
    """Arrays that a step changes: the trained groups, their optimizer state, and the step's number.

    `step` counts from 0 within the phase; `average` is the trained groups' moving average, or
    None.
    """

    step: Int[Array, ""]
    params: groups.Tree
    batch_stats: groups.Tree
    opt_state: Any
    average: Weights | None = None

    @property
    def weights(self) -> Weights:
        """The trained groups' weights to validate and keep: the average, if there is one."""
        return self.average or Weights(self.params, self.batch_stats)


class TrainBatch(NamedTuple):
    """`inputs`: canvases uint8 [B,S,S,3], or features [B,F] of the frozen body; `label` [B]."""

    inputs: Any
    label: Any


class ExampleKeys(NamedTuple):
    """Random keys of each example of a batch: for its view, and for dropout."""

    augment: Key[Array, " batch"]
    dropout: Key[Array, " batch"]


def finish(state: TrainState, frozen: Weights) -> Weights:
    """Parameters and statistics of all groups, as validated."""
    return joined(frozen, state.weights)


def joined(frozen: Weights, trained: Weights) -> Weights:
    """Weights of all groups, in their order."""
    return Weights(*(groups.join(*both) for both in zip(frozen, trained, strict=True)))


Step = Callable[..., tuple[TrainState, Float[Array, ""]]]


Sink = Callable[[int, float], bool]
Settle = Callable[[TrainState, int], TrainState]  # of a state and the steps done
