"""The run that is exported, opened."""

from dataclasses import replace

from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.export.subject import Subject
from jaxft.materials.model import create_model
from jaxft.report.page.contents import Contents, read
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up
from jaxft.workdir.rows import read_object


def of_run(workdir: str | AnyPath, which: str = "best") -> Subject:
    """Return the model of a run, computing in float32.

    Args:
      workdir: of the run.
      which: `best` or `last` weights.

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    settings, classes, expected = read_workdir(workdir)
    set_up(settings.cache_dir)
    weights = read_weights(workdir, which)
    settings = replace(settings, model=replace(settings.model, dtype="float32"))
    native = replace(settings, model=replace(settings.model, conv="native"))
    model = create_model(native, len(classes), expected)
    origin = read_object(paths.of(workdir) / "weights.json") or {}
    return Subject(settings, classes, model, weights, origin)


def contents(workdir: str | AnyPath, which: str = "best") -> Contents:
    """Read what a run left of itself, its metrics only where they are of these weights."""
    found = read(paths.of(workdir))
    return found if which == "best" else replace(found, scores={})
