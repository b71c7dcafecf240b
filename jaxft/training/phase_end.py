"""The end of a phase: by its epochs, or by over-fitting."""

from jaxft.config.phase import Phase
from jaxft.recipe import overfit
from jaxft.workdir.cursor import Cursor


def ended(phase: Phase, cursor: Cursor, settings: overfit.OverfitSettings) -> str | None:
    """Name what ends the cursor's phase at this epoch, or None if it continues."""
    signs = [cycle["signs"] for cycle in cursor.phase.cycles]
    if phase.until_overfit and overfit.over_fitted(signs, settings):
        return "overfit"
    if cursor.phase.epoch < sum(phase.cycle_lengths):
        return None
    return "max_cycles" if phase.until_overfit else "epochs"
