"""Classify image files by a run's weights."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources.files import files_split, image_files
from jaxft.errors import UserError
from jaxft.evaluation import prediction_files
from jaxft.evaluation.own_data import open_own
from jaxft.evaluation.prediction_files import PLAIN_TABLE, Layout, Predicted
from jaxft.evaluation.probabilities import PLAIN, Scoring, in_batches, materials_of, scored
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.evaluation.unknown import distances, reference, share_farther
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts, paths
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
    layout: Layout = PLAIN_TABLE,
    skip_bad: bool = False,
) -> Predicted:
    """Classify image files, or all images below folders, into a table.

    A plain table's columns are `file,label,p_CLASS...`: the predicted class, and the probability of
    every class. The data that the run was trained on is not needed, unless `unknown` adds the
    columns `distance,farther`: the distance to the training images, and the share
    of the validation images that lie as far away or farther.

    Args:
      workdir: of the run.
      files: paths of images and folders.
      output: a file that is not there yet; "-" is stdout.
      how: weights and views.
      console: gets the progress; None is silent.
      unknown: add the columns of distances.
      layout: form of the table.
      skip_bad: leave unreadable images out, and list them in the result, instead of failing.

    Returns:
      What the table holds.

    Raises:
      UserError: what `restore` raises; missing paths; files that are not images, unless they are
        skipped and others are left; an output that is there or cannot be written; with `unknown`
        the run's own images that are gone or have other classes.
    """
    console = console or Console(None)
    paths.demand(*files)
    settings, classes, expected = read_workdir(workdir)
    listed = hosts.together(lambda: image_files(files, console.say))
    prediction_files.demand_submission(layout, listed, classes)
    hosts.together(lambda: prediction_files.demand(output, layout))
    set_up(settings.cache_dir)
    weights = read_weights(workdir, how.weights)
    split = files_split(listed)
    settings = _adapted(settings, how, skip_bad, None if unknown else len(split))
    own = None
    if unknown:
        own = hosts.together(lambda: _own(settings, workdir, classes, console))
    skipped: list[str] = []
    warn = skipped.append if skip_bad else None
    materials = materials_of(settings, Dataset(classes, split, split), expected, console, warn)
    found = scored(materials, weights, how.tta, how.method)
    extra = _distances(materials, own, weights, found.features) if own else {}
    names, told = materials.dataset.valid.names, "\n".join(skipped)
    predicted = Predicted(names, classes, found.probabilities, extra, told)
    prediction_files.write(output, layout, predicted)
    return predicted


def _adapted(settings: Settings, how: Scoring, skip_bad: bool, images: int | None) -> Settings:
    settings = in_batches(settings, how.batch_size, images)
    data = replace(settings.data, skip_bad=settings.data.skip_bad or skip_bad)
    return replace(settings, data=data)


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
    """Columns of the table that tell how unlike the training images each image is."""
    known, usual = reference(materials, own, weights)
    found = distances(features, known)
    return {"distance": found, "farther": share_farther(found, usual)}
