"""Probabilities of a split's images by the weights of a run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.config.settings import Settings
from jaxft.data import Dataset, Split
from jaxft.devices import sharding
from jaxft.evaluation import validate
from jaxft.evaluation.tta import TTA_PHASE, combine
from jaxft.features.forward import Forward
from jaxft.features.inference import View, make_forward
from jaxft.materials import extraction, reading, shortage
from jaxft.materials.materials import Materials
from jaxft.materials.model import create_model
from jaxft.models.body import Preprocessing
from jaxft.models.model import Model
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.runtime.folders import cache_directory


class Scoring(NamedTuple):
    """Choices of an inference: the weights, `best` or `last`; random views, and their combination.

    `batch_size` counts the images at a time; 0 is the run's number.
    """

    weights: str = "best"
    tta: int = 0
    method: str = "fastai07"
    batch_size: int = 0


PLAIN = Scoring()


class Scored(NamedTuple):
    """Probabilities over all views, and the body's features of the plain one."""

    probabilities: Float[np.ndarray, "examples classes"]
    features: Float[np.ndarray, "examples features"]


def in_batches(settings: Settings, batch_size: int, images: int | None = None) -> Settings:
    """The settings with this batch size; results stay the same.

    Args:
      settings: of the run.
      batch_size: images at a time; 0 = the run's number, but a single image is alone.
      images: their number, if it is known.
    """
    usual = 1 if images == 1 else settings.data.batch_size
    return replace(settings, data=replace(settings.data, batch_size=batch_size or usual))


def probabilities_of(
    materials: Materials, weights: Weights, tta: int, method: str
) -> Float[np.ndarray, "examples classes"]:
    """As `scored`, the probabilities alone."""
    return scored(materials, weights, tta, method).probabilities


def scored(materials: Materials, weights: Weights, tta: int, method: str) -> Scored:
    """Probabilities of the validation split's examples, over `tta` random views and the plain one.

    The random views are those of the run's seed; the same call gives the same numbers.

    Raises:
      UserError: the device runs out of memory.
    """
    with shortage.told(materials.settings, "in inference", hint="", batch="--batch-size"):
        placed = sharding.replicate(weights, materials.mesh)
        return scored_by(materials, placed, tta, method)


def scored_by(materials: Materials, placed: Weights, tta: int, method: str) -> Scored:
    """As `scored`, with weights that are on the mesh already."""
    features = _features(materials, placed, "predicting", None)
    plain = validate.score(materials, placed, features).probabilities
    views = []
    for number in range(tta):
        keyed = View(materials.settings.seed, TTA_PHASE, number)
        found = _features(materials, placed, f"view {number + 1} of {tta}", keyed)
        views.append(validate.score(materials, placed, found).probabilities)
    return Scored(combine(plain, views, method) if tta else plain, features)


def _features(materials: Materials, weights: Weights, what: str, view: View | None) -> np.ndarray:
    return extraction.extract(materials, weights, materials.valid_images, what, view)


def materials_of(
    settings: Settings,
    dataset: Dataset,
    expected: Preprocessing,
    console: Console,
    warn: Callable[[str], None] | None = None,
) -> Materials:
    """Materials for inference on one split, which is both splits of `dataset`.

    `warn` as in `read_images`.
    """
    programs = programs_of(settings, dataset.classes, expected)
    return of_split(programs, settings, dataset.valid, console, warn=warn)


class Programs(NamedTuple):
    """A model's inference functions on a mesh; each compiles once for a shape of batches."""

    model: Model
    mesh: Mesh
    forward: Forward
    classes: tuple[str, ...]


def programs_of(settings: Settings, classes: Sequence[str], expected: Preprocessing) -> Programs:
    """Programs of a run's model over all devices; nothing is compiled yet."""
    mesh = sharding.data_mesh()
    model = create_model(settings, len(classes), expected)
    size, exact = settings.phases[-1].image_size, settings.deterministic
    forward = make_forward(model, settings.augment, size, mesh, exact)
    return Programs(model, mesh, forward, tuple(classes))


def of_split(
    programs: Programs,
    settings: Settings,
    split: Split,
    console: Console,
    advice: str = reading.REMOVE,
    warn: Callable[[str], None] | None = None,
) -> Materials:
    """Materials for inference on a split by a run's programs; reads its images.

    `warn` as in `read_images`.

    Raises:
      UserError: unreadable images, with this advice.
    """
    model, mesh, forward, classes = programs
    whole = -(-settings.data.batch_size // mesh.size) * mesh.size  # divides over any devices
    settings = replace(settings, data=replace(settings.data, batch_size=whole))
    size = settings.phases[-1].image_size
    alone = Dataset(classes, split.select([]), split)
    alone, none, found = reading.read_images(
        settings, size, alone, console, advice=advice, warn=warn
    )
    cache = cache_directory(settings.cache_dir)
    return Materials(settings, size, mesh, model, forward, alone, none, found, cache, console)
