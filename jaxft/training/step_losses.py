"""The losses of a phase's steps as they come, and those that are not finite."""

from collections.abc import Callable

import numpy as np

from jaxft.errors import NonFiniteError
from jaxft.materials.materials import Materials
from jaxft.training.spec import StepSpec
from jaxft.workdir.cursor import Cursor

FIRST_STEPS = 10  # of an epoch, whose mean loss shows if unfreezing made it jump


class StepLosses:
    """Count the losses of steps in the cursor.

    Args:
      materials, spec, cursor: of the phase.
      track: gets the number and the loss of each step that counts.

    Attributes:
      sick: ends the run once its place is saved; None as long as all is well.
    """

    def __init__(
        self,
        materials: Materials,
        spec: StepSpec,
        cursor: Cursor,
        track: Callable[[int, float], None],
    ) -> None:
        self.materials, self.spec, self.cursor, self.track = materials, spec, cursor, track
        self.sick: NonFiniteError | None = None

    def take(self, number: int, loss: float) -> None:
        """Count the loss of a step, by its number since the cursor last moved.

        Raises:
          NonFiniteError: it is not finite, and such steps are not skipped.
        """
        here = self.cursor.phase
        if self.spec.skips_nonfinite and not np.isfinite(loss):
            self._skip(here.step + number)
            return
        demand_finite(here.step + number, loss)
        self.track(number, loss)
        here.loss_sum += loss
        here.skips_in_row = 0
        if len(here.first_losses) < FIRST_STEPS:
            here.first_losses.append(loss)

    def demand_some(self) -> None:
        """Raise NonFiniteError if no step of the epoch that ends here was finite."""
        here = self.cursor.phase
        if here.epoch_skipped == self.spec.steps_per_epoch:
            told = f"loss or gradient is not finite in all steps of epoch {here.epoch}"
            raise NonFiniteError(f"{told} of the phase", step=here.step - 1)

    def _skip(self, number: int) -> None:
        """Count a step that was not finite and changed nothing; note if these are too many."""
        here, most = self.cursor.phase, self.materials.settings.nonfinite_skips
        here.skipped += 1
        here.epoch_skipped += 1
        here.skips_in_row += 1
        if self.sick is None:
            told = f"step {number} changed nothing: its loss or a gradient is not finite"
            self.materials.console.say(f"{told} ({here.epoch_skipped} in this epoch)")
        if here.skips_in_row > most and self.sick is None:
            told = f"loss or gradient is not finite in {here.skips_in_row} steps in a row, up to"
            self.sick = NonFiniteError(f"{told} step {number} of the phase", step=number)


def demand_finite(step: int, loss: float) -> None:
    """Raise NonFiniteError for a loss that is infinite or NaN."""
    if not np.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss} at step {step} of the phase", step=step)
