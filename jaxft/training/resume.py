"""The place where a run begins: its first step, or its newest checkpoint."""

from contextlib import suppress

import numpy as np

from jaxft.config.settings import Settings
from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.materials.identity import demand_first_weights
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.training.phase_end import ended
from jaxft.workdir import cursor, history
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import read_rows, rewind_rows
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Best, Snapshot, unpack


def begin(
    materials: Materials, initial: Weights, checkpoints: Checkpoints, workdir: AnyPath
) -> tuple[Cursor, Snapshot]:
    """Find where to begin; the weights are on the mesh.

    Raises:
      UserError: there are checkpoints, but none can be read; or the run begins again, from other
        weights than the first time.
    """
    checkpoints.wait()
    restored, problems = checkpoints.newest(
        lambda stored: fits(Cursor.of(stored), materials.settings, checkpoints)
    )
    if problems and restored is None:
        raise UserError(
            f"No checkpoint in {workdir} can be read:",
            problems,
            "Nothing was changed; choose another --workdir to start over.",
        )
    for problem in problems:
        materials.console.say(f"warning: {problem}; resuming from the one before")
    if restored is None:
        demand_first_weights(workdir, materials)
        start = sharding.replicate(initial, materials.mesh)
        return Cursor(), Snapshot(start, Best(sharding.fetch(initial), np.zeros(0)))
    found = unpack(restored)
    current = sharding.replicate(found.weights, materials.mesh)
    return Cursor.of(restored.cursor), found._replace(weights=current)


def rewind(workdir: AnyPath, cursor: Cursor, console: Console) -> None:
    """Drop the rows of metrics.jsonl after a cursor; restore, or tell of, those before it."""
    path, count = workdir / history.FILE, cursor.rows
    if further := len(read_rows(path, after=count)):
        told = "An epoch" if further == 1 else f"{further} epochs"
        console.say(f"{told} after the newest checkpoint will be trained again")
    lost = hosts.gather(rewind_rows(path, count, cursor.table))[0]
    if not lost:
        return
    told = f"warning: {lost} of {count} rows of metrics.jsonl are lost; "
    if len(cursor.table) == count:
        console.tell(told + "written again from the checkpoint")
    else:
        console.tell(told + "the run goes on without them, and with the same numbers")
        cursor.rows -= lost


def fits(at: Cursor, settings: Settings, checkpoints: Checkpoints) -> bool:
    """Tell if a run with these settings passes through this place.

    It does not where the last phase goes on, or where the phase has another rate by now: see
    workdir/going_on.py.
    """
    phases = settings.phases
    if at.phase_index < len(phases):
        rate = phases[at.phase_index].lr
        return at.phase.lr is None or isinstance(rate, str) or at.phase.lr == rate
    with suppress(Exception):  # whatever a missing or damaged file makes Orbax raise
        end = Cursor.of(checkpoints.cursor(at.back_to))
        return ended(phases[-1], end, settings.overfit) is not None
    return True


def phase_reached(workdir: AnyPath, settings: Settings) -> int:
    """Index of the phase in which a run will probably resume; `begin` decides."""
    reached = cursor.newest(workdir)
    return min(reached.phase_index if reached else 0, len(settings.phases) - 1)
