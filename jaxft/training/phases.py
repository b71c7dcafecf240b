"""The phases of a run, one after the other, and the way back where a loss is not finite."""

import time

from jaxft.errors import NonFiniteError
from jaxft.materials import reading
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.report.trackers.tracking import Tracking
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.timer import Timer
from jaxft.training import fit, resume, sick
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Snapshot


def run_rest(
    materials: Materials,
    cursor: Cursor,
    progress: Snapshot,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
    tracking: Tracking,
    initial: Weights,
) -> tuple[Materials, Snapshot]:
    """Run the phases from a cursor on.

    Returns:
      The materials of the last phase, at its image size, and the snapshot at its end.

    Raises:
      NonFiniteError: a loss is not finite, and `on_nonfinite` asks to stop, or did all that it may.
      Interrupted: the run was told to stop; a checkpoint has been written.
    """
    while (index := cursor.phase_index) < len(materials.settings.phases):
        started = time.perf_counter()
        materials = reading.at_size(materials, materials.settings.phases[index].image_size)
        cursor.setup_seconds += time.perf_counter() - started
        try:
            progress = fit.run_phase(
                materials, cursor, progress, checkpoints, workdir, timer, tracking
            )
        except NonFiniteError as error:
            error.__traceback__ = None  # it holds the phase's arrays
            checkpoints.wait()  # the newest may be on its way
            place = resume.begin(materials, initial, checkpoints, workdir)
            progress = sick.after(error, materials, cursor, place, checkpoints, workdir)
            resume.rewind(workdir, cursor, materials.console)
    return materials, progress
