"""The place that a run has reached, and what a phase hands on."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.models.variables import Weights


class Best(NamedTuple):
    """The best weights so far, on the host, and the validation loss of every example."""

    weights: Weights
    losses: Float[np.ndarray, " examples"]


@dataclass
class Cursor:
    """Place that a run has reached; JSON data, stored with every checkpoint.

    `epoch` and `step` count what the phase has finished, `loss_sum`, `first_losses` (of its first
    steps) and `epoch_seconds` belong to the epoch under way, `rows` counts the lines of
    metrics.jsonl, `setup_seconds` adds up what every start took to open data and model, and to
    read images of another size. `best` is the run's best epoch (`best.record`), `phase_best` the
    phase's, `trn_loss_before` the training loss of the last epoch of the phase before. `baselines`
    are the accuracies of simple classifiers, {} where there are none.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    global_step: int = 0
    saves: int = 0
    rows: int = 0
    setup_seconds: float = 0.0
    loss_sum: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0
    lr: float | None = None
    lr_rule: str = ""
    lr_reason: str = ""
    cycles: list[dict[str, Any]] = field(default_factory=list)
    baselines: dict[str, float] | None = None
    best: dict[str, Any] | None = None
    phase_best: dict[str, Any] | None = None
    trn_loss_before: float = 0.0
    phases: list[dict[str, Any]] = field(default_factory=list)
    phase_seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "input_wait": 0.0, "total": 0.0}
    )

    def next_phase(self, summary: dict[str, Any]) -> None:
        """Note a finished phase and stand before the next one's first step."""
        self.trn_loss_before = self.cycles[-1]["trn_loss"]
        fresh = Cursor()
        for name in (
            "epoch",
            "step",
            "lr",
            "lr_rule",
            "lr_reason",
            "cycles",
            "phase_best",
            "phase_seconds",
        ):
            setattr(self, name, getattr(fresh, name))
        self.phases.append(summary)
        self.phase += 1


class Progress(NamedTuple):
    """Hand-over of a phase: the weights of all groups on the mesh, and the run's best so far."""

    weights: Weights
    best: Best
