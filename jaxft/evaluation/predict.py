"""Classify image files by a run's weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources.files import files_split, image_files
from jaxft.errors import UserError
from jaxft.evaluation.own_data import open_own
from jaxft.evaluation.probabilities import PLAIN, Scoring, in_batches, materials_of, scored
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.evaluation.unknown import distances, reference, share_farther
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import csv_rows, hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up


def predict_files(
    workdir: str | AnyPath,
    files: Sequence[str],
    output: str | AnyPath,
    how: Scoring = PLAIN,
    console: Console | None = None,
    unknown: bool = False,
) -> int:
    """Classify image files, or all images below folders, into a CSV.

    The CSV's columns are `file,label,p_CLASS...`: the predicted class, and the probability of
    every class. The data that the run was trained on is not needed, unless `unknown` adds the
    columns `distance,farther` after the label: the distance to the training images, and the share
    of the validation images that lie as far away or farther.

    Returns:
      The number of files classified.

    Raises:
      UserError: what `restore` raises; missing paths; files that are not images; an output
        file that already exists; with `unknown` the run's own images
        that are gone or have other classes.
    """
    console = console or Console(None)
    paths.demand(output, *files)
    output = paths.of(output)
    hosts.together(lambda: _check_output(output))
    settings, classes, expected = read_workdir(workdir)
    set_up(settings.cache_dir)
    weights = read_weights(workdir, how.weights)
    split = files_split(hosts.together(lambda: image_files(files)))
    settings = in_batches(settings, how.batch_size, None if unknown else len(split))
    own = None
    if unknown:
        own = hosts.together(lambda: _own(settings, workdir, classes, console))
    materials = materials_of(settings, Dataset(classes, split, split), expected, console)
    found = scored(materials, weights, how.tta, how.method)
    extra = _distances(materials, own, weights, found.features) if own else {}
    _write_csv(output, classes, materials.dataset.valid.names, found.probabilities, extra)
    return len(found.probabilities)


def _own(
    settings: Settings, workdir: str | AnyPath, classes: Sequence[str], console: Console
) -> Dataset:
    """The images that the run was trained on; nothing is read yet."""
    try:
        return open_own(settings, workdir, classes, console)
    except UserError as error:
        title = f"--unknown needs the images that the run was trained on: {error.title}"
        raise UserError(title, error.offenders, error.hint) from error


def _distances(
    materials: Materials, own: Dataset, weights: Weights, features: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of the CSV that tell how unlike the training images each image is."""
    known, usual = reference(materials, own, weights)
    found = distances(features, known)
    return {"distance": found, "farther": share_farther(found, usual)}


def _check_output(output: AnyPath) -> None:
    if output.exists():
        raise UserError(f"{output} already exists", hint="Give another --output.")
    if not paths.is_remote(output) and not output.parent.is_dir():
        raise UserError(f"no such folder: {output.parent}", hint="Give another --output.")


@hosts.first_only
def _write_csv(
    output: AnyPath,
    classes: Sequence[str],
    names: Sequence[str],
    probabilities: np.ndarray,
    extra: Mapping[str, np.ndarray],
) -> None:
    numbers = np.column_stack([*extra.values(), probabilities])
    rows = (
        [name, classes[row.argmax()], *(f"{number:.6f}" for number in told)]
        for name, row, told in zip(names, probabilities, numbers, strict=True)
    )
    with paths.open_new(output) as raw:
        csv_rows.fill(raw, ["file", "label", *extra, *(f"p_{name}" for name in classes)], rows)
