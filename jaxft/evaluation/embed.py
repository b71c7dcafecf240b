"""Features of image files: the pooled output of a body, which a head sees."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources.files import files_split, image_files
from jaxft.devices import sharding
from jaxft.evaluation.probabilities import in_batches, materials_of
from jaxft.evaluation.restore import read_run
from jaxft.materials import extraction, shortage
from jaxft.materials.model import open_model
from jaxft.materials.start_up import start_up
from jaxft.models.body import Preprocessing
from jaxft.models.variables import Weights
from jaxft.models.weights import pretrained
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath


class Source(NamedTuple):
    """A body's weights, and all that their features depend on; `told` is a line about them."""

    settings: Settings
    classes: tuple[str, ...]
    expected: Preprocessing
    weights: Weights
    told: str = ""


class Embedded(NamedTuple):
    """The files that were read, and their features in the same order."""

    files: tuple[str, ...]
    features: Float[np.ndarray, "files features"]


def of_run(workdir: str | AnyPath, which: str = "best") -> Source:
    """Return the body of a run.

    Args:
      workdir: of the run.
      which: `best` or `last` weights.

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    run = read_run(workdir, which)
    return Source(run.settings, run.classes, run.expected, run.weights)


def of_config(config: Any) -> Source:
    """Return the body that a run of a config would begin with; its data are not looked at.

    Raises:
      UserError: a bad config, or weights that cannot be read or fetched.
    """
    settings, _ = start_up(config)
    classes = ("",)  # the head, of one class, is not used
    model, weights, origin = hosts.together(lambda: open_model(settings, classes))
    return Source(settings, classes, model.preprocessing, weights, pretrained.in_words(origin))


def embed(
    source: Source, files: Sequence[str], console: Console | None = None, batch_size: int = 0
) -> Embedded:
    """Compute the features of image files, or of all images below folders.

    The view is that of validation, at the image size of the last phase.

    Args:
      source: from `of_run` or `of_config`.
      files: paths of images and folders.
      console: gets the progress; None is silent.
      batch_size: images at a time, 0 = as the config says.

    Raises:
      UserError: missing paths; files that are not images; the device runs out of memory.
    """
    console = console or Console(None)
    paths.demand(*files)
    split = files_split(hosts.together(lambda: image_files(files, console.say)))
    if source.told:
        console.say(source.told)
    settings = in_batches(source.settings, batch_size, len(split))
    dataset = Dataset(source.classes, split, split)
    materials = materials_of(settings, dataset, source.expected, console)
    with shortage.told(materials.settings, "in inference", hint="", batch="--batch-size"):
        placed = sharding.replicate(source.weights, materials.mesh)
        found = extraction.extract(materials, placed, materials.valid_images, "features")
    return Embedded(materials.dataset.valid.names, found.astype(np.float32))
