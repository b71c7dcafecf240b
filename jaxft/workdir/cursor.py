"""Cursor: a run's position, as every checkpoint stores it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from jaxft.errors import UserError
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint

# 1 had the keys of the phase among the run's, 2 no digest of itself, 3 `best` in each checkpoint
VERSION = 4
READABLE = range(2, VERSION + 1)


@dataclass
class PhaseCursor:
    """Position within a phase; a new one for each phase.

    `epoch` and `step` count what is finished. `lr` is None until the phase has its learning rate,
    which is halved from each step of `rewinds` on. `skipped` counts the steps that were not finite,
    and `skips_in_row` the last of them that followed one another. `cycles` are the ends of its
    cycles, `best` its best epoch (`best_epoch.record`), `drift` that of the body's features at the
    first step and at the ends of cycles. `loss_sum`, `first_losses` (of the first steps),
    `epoch_skipped`, `epoch_seconds` and `epoch_wait` belong to the current epoch.
    """

    epoch: int = 0
    step: int = 0
    lr: float | None = None
    lr_rule: str = ""
    lr_reason: str = ""
    cycles: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    drift: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "input_wait": 0.0, "total": 0.0}
    )
    loss_sum: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0
    rewinds: list[int] = field(default_factory=list)
    skipped: int = 0
    skips_in_row: int = 0
    epoch_skipped: int = 0

    @property
    def rate(self) -> float | None:
        """The learning rate as it is now, None before there is one."""
        return None if self.lr is None else self.lr * 0.5 ** len(self.rewinds)

    def next_epoch(self) -> None:
        """Move to the next epoch: the sums begin anew."""
        self.epoch += 1
        self.loss_sum = self.epoch_seconds = self.epoch_wait = 0.0
        self.first_losses, self.epoch_skipped = [], 0


@dataclass
class Cursor:
    """Position of a run; JSON data.

    `rows` counts the lines of metrics.jsonl, and `table` holds them, if all were written since
    checkpoints do. `setup_seconds` is the total time that all starts took to open data and model,
    and to read images of another size, `saving_seconds` that which saving held the run up.
    `baselines` are the accuracies of simple classifiers, {} if there are none. `best` is the run's
    best epoch (`best_epoch.record`). `trn_loss_before` is the training loss of the previous phase's
    last epoch. `phases` are the finished ones, as `summary.json` has them. `least_loss` is the
    lowest validation loss so far, at the current image size. `kept` is what was made of the kept
    cycle ends, once that is settled, as `summary.json` has it. `back_to` is the checkpoint that a
    change of config goes back to: the one at the phase's begin, 0 for the run's; after the last
    phase the one at the end of its epochs.
    """

    version: int = VERSION
    phase_index: int = 0
    phase: PhaseCursor = field(default_factory=PhaseCursor)
    global_step: int = 0
    saves: int = 0
    rows: int = 0
    table: list[dict[str, Any]] = field(default_factory=list)
    setup_seconds: float = 0.0
    saving_seconds: float = 0.0
    baselines: dict[str, float] | None = None
    best: dict[str, Any] | None = None
    trn_loss_before: float = 0.0
    least_loss: float | None = None
    phases: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Any] | None = None
    back_to: int = 0

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Cursor":
        """Read a cursor from its JSON data.

        Raises:
          UserError: another version of jaxft wrote it.
        """
        if stored.get("version") not in READABLE:
            raise UserError(
                f"The run's checkpoints are of version {stored.get('version', 1)}; this jaxft "
                f"resumes those of versions {READABLE[0]} to {VERSION}",
                hint="Resume with the jaxft that started the run, or start another one from its "
                "weights (config.init_from).",
            )
        phase = PhaseCursor(**stored["phase"])
        return cls(**{**stored, "version": VERSION, "phase": phase})

    def become(self, other: "Cursor") -> None:
        """Move to another's place."""
        for one in fields(self):
            setattr(self, one.name, getattr(other, one.name))

    def next_phase(self, summary: dict[str, Any], back_to: int) -> None:
        """Note a finished phase and move to the next one's first step."""
        self.trn_loss_before = self.phase.cycles[-1]["trn_loss"]
        self.phases.append(summary)
        self.phase_index += 1
        self.phase = PhaseCursor()
        self.back_to = back_to

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Count the time of this block among that for which saving held the run up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.saving_seconds += time.perf_counter() - started

    @property
    def phases_begun(self) -> int:
        """Number of phases that have begun or are about to: those with a rate."""
        return self.phase_index + (self.phase.lr is not None)


def newest(workdir: AnyPath) -> Cursor | None:
    """Cursor of a workdir's newest checkpoint, whole or not; None if none can be read.

    Raises:
      UserError: another version of jaxft wrote it.
    """
    stored = checkpoint.newest_cursor(workdir)
    try:
        return Cursor.of(stored) if stored else None
    except (AttributeError, LookupError, TypeError):  # damaged
        return None
