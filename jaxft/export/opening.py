"""The run that is exported, opened."""

from dataclasses import replace

from jaxft.evaluation.restore import read_run
from jaxft.export.subject import Subject
from jaxft.materials.model import create_model
from jaxft.report.page.contents import Contents, read
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_object


def of_run(workdir: str | AnyPath, which: str = "best") -> Subject:
    """Return the model of a run, computing in float32.

    Args:
      workdir: of the run.
      which: `best` or `last` weights.

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    run = read_run(workdir, which)
    settings = replace(run.settings, model=replace(run.settings.model, dtype="float32"))
    native = replace(settings, model=replace(settings.model, conv="native"))
    model = create_model(native, len(run.classes), run.expected)
    origin = read_object(run.workdir / "weights.json") or {}
    return Subject(settings, run.classes, model, run.weights, origin)


def contents(workdir: str | AnyPath, which: str = "best") -> Contents:
    """Read what a run left of itself, its metrics only where they are of these weights."""
    found = read(paths.of(workdir))
    return found if which == "best" else replace(found, scores={})
