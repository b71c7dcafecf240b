"""After a loss that is not finite: back to the last checkpoint at half the rate, or the end."""

from typing import Any

from jaxft.devices import sharding
from jaxft.errors import NonFiniteError
from jaxft.features.cache import Rows
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.training import rebase, resume, sick_report
from jaxft.training.cached import feature_feed, views_of
from jaxft.training.phase_spec import make_spec
from jaxft.training.runners import train_feed
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import write_json
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Snapshot, pack

FILE = "nonfinite.json"


def after(
    error: NonFiniteError,
    materials: Materials,
    cursor: Cursor,
    initial: Weights,
    checkpoints: Checkpoints,
    workdir: AnyPath,
) -> Snapshot:
    """Go back to the last checkpoint where the config says so; else report, and raise the error.

    A run that is killed meanwhile does the same again.

    Args:
      error: what the phase raised.
      materials: of the phase.
      cursor: where it did; moves back.
      initial: weights that the run begins with where it has no checkpoint.
      checkpoints, workdir: of the run.

    Returns:
      The place to go on from, its weights on the mesh.

    Raises:
      NonFiniteError: the run has ended; it holds the report in short.
    """
    error.__traceback__ = None  # it holds the phase's arrays
    checkpoints.wait()  # the newest may be on its way
    found, entry = resume.begin(materials, initial, checkpoints, workdir)
    settings = materials.settings
    left = settings.nonfinite_rewinds - len(cursor.phase.rewinds)
    if settings.on_nonfinite != "rewind" or left <= 0:
        report = sick_report.report(error, materials, cursor)
        if error.step is not None and found.phase_index == cursor.phase_index:
            report |= _looked_at(error.step, materials, found, entry)
        write_json(workdir / FILE, report)
        error.report = f"{sick_report.in_words(report)} {workdir / FILE} has more."
        raise error
    _move_back(cursor, found)
    checkpoints.remove_after(cursor.saves)
    cursor.saves += 1
    on_host = entry._replace(weights=sharding.fetch(entry.weights))
    checkpoints.save(cursor.saves, pack(on_host, cursor))
    resume.rewind(workdir, cursor, materials.console)
    number = f"rewind {len(cursor.phase.rewinds)} of {settings.nonfinite_rewinds}"
    materials.console.say(
        f"{error.told}: back to step {cursor.global_step:,} of the run at half the rate, "
        f"{cursor.phase.rate:.2e} ({number})"
    )
    return entry


def _move_back(cursor: Cursor, found: Cursor) -> None:
    """Move a cursor back to another, in the same phase, with half the rate."""
    failed = cursor.phase
    found.setup_seconds, found.saving_seconds = cursor.setup_seconds, cursor.saving_seconds
    if found.phase_index == cursor.phase_index:  # else its last checkpoint was damaged
        found.phase.lr, found.phase.lr_rule = failed.lr, failed.lr_rule
        found.phase.lr_reason, here = failed.lr_reason, found.phase.step
        found.phase.rewinds = [*(min(step, here) for step in failed.rewinds), here]
    cursor.become(found)


def _looked_at(number: int, materials: Materials, found: Cursor, entry: Snapshot) -> dict[str, Any]:
    """Look at a step of the phase with the weights of its last checkpoint; as JSON data."""
    materials = materials._replace(console=Console(None))
    spec, weights = make_spec(materials, found.phase_index), entry.weights
    if entry.midway is None:
        weights = rebase.rebase(spec, materials, weights).weights
    if spec.phase.inputs == "cached":
        rows = Rows(views_of(spec, materials, weights, mapped=True))
        feed = feature_feed(spec, materials, rows, number, 1)
    else:
        feed = train_feed(spec, materials, number, 1)
    with feed as ready:
        looked = sick_report.looked_at(spec, materials, weights, number, next(iter(ready)))
    # Checkpoint 0 is the run's begin.
    return {"weights": {"checkpoint": found.saves, "step": found.phase.step}, **looked}
