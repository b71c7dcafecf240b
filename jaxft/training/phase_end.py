"""The end of a phase: by its epochs, or by over-fitting; and what is told of it."""

from typing import Any

from jaxft.config.phase import Phase
from jaxft.recipe import overfit
from jaxft.training.spec import StepSpec
from jaxft.workdir.cursor import Cursor


def ended(phase: Phase, cursor: Cursor, settings: overfit.OverfitSettings) -> str | None:
    """Name what ends the cursor's phase at this epoch, or None if it continues."""
    signs = [cycle["signs"] for cycle in cursor.phase.cycles]
    if phase.until_overfit and overfit.over_fitted(signs, settings):
        return "overfit"
    if cursor.phase.epoch < sum(phase.cycle_lengths):
        return None
    return "max_cycles" if phase.until_overfit else "epochs"


def summary(spec: StepSpec, cursor: Cursor, ended_by: str) -> dict[str, Any]:
    """Summarise the cursor's phase, which has ended, for `summary.json`."""
    phase, here = spec.phase, cursor.phase
    seconds, found = here.seconds, here.best
    assert found is not None
    rest = seconds["total"] - seconds["compile"] - seconds["input_wait"]
    return {
        "name": phase.name,
        "image_size": phase.image_size,
        "lr": here.rate,
        "lr_rule": here.lr_rule,
        "lr_reason": here.lr_reason,
        "epochs": here.epoch,
        "cycles": len(here.cycles),
        "best_epoch": found["epoch"],
        "trn_loss": found["trn_loss"],
        "val_loss": found["val_loss"],
        "accuracy": found["accuracy"],
        "ended_by": ended_by,
        **({"drift": here.drift} if here.drift else {}),
        **({"skipped": here.skipped} if spec.skips_nonfinite else {}),
        **({"rewinds": here.rewinds} if here.rewinds else {}),
        "seconds": {**seconds, "compute": max(rest, 0.0)},
    }
