"""Classify image files by a run's weights."""

from collections.abc import Sequence

import numpy as np

from jaxft.data import Dataset
from jaxft.data.sources.files import files_split, image_files
from jaxft.errors import UserError
from jaxft.evaluation.probabilities import in_batches, materials_of, probabilities_of
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.runtime import csv_rows, hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up


def predict_files(
    workdir: str | AnyPath,
    files: Sequence[str],
    output: str | AnyPath,
    which: str = "best",
    tta: int = 0,
    method: str = "fastai07",
    console: Console | None = None,
    batch_size: int = 0,
) -> int:
    """Classify image files, or all images below folders, into a CSV.

    The CSV's columns are `file,label,p_CLASS...`: the predicted class, and the probability of
    every class. The data that the run was trained on is not needed.

    Returns:
      The number of files classified.

    Raises:
      UserError: what `restore` raises; missing paths; files that are not images; an output
        file that already exists.
    """
    console = console or Console(None)
    paths.demand(output, *files)
    output = paths.of(output)
    hosts.together(lambda: _check_output(output))
    settings, classes, expected = read_workdir(workdir)
    settings = in_batches(settings, batch_size)
    set_up(settings.cache_dir)
    weights = read_weights(workdir, which)
    split = files_split(hosts.together(lambda: image_files(files)))
    materials = materials_of(settings, Dataset(classes, split, split), expected, console)
    probabilities = probabilities_of(materials, weights, tta, method)
    _write_csv(output, classes, materials.dataset.valid.names, probabilities)
    return len(probabilities)


def _check_output(output: AnyPath) -> None:
    if output.exists():
        raise UserError(f"{output} already exists", hint="Give another --output.")
    if not paths.is_remote(output) and not output.parent.is_dir():
        raise UserError(f"no such folder: {output.parent}", hint="Give another --output.")


@hosts.first_only
def _write_csv(
    output: AnyPath, classes: Sequence[str], names: Sequence[str], probabilities: np.ndarray
) -> None:
    rows = (
        [name, classes[row.argmax()], *(f"{p:.6f}" for p in row)]
        for name, row in zip(names, probabilities, strict=True)
    )
    with paths.open_new(output) as raw:
        csv_rows.fill(raw, ["file", "label", *(f"p_{name}" for name in classes)], rows)
