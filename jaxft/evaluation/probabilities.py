"""Probabilities of a split's images by the weights of a run."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.devices import sharding
from jaxft.evaluation import validate
from jaxft.evaluation.tta import TTA_PHASE, combine
from jaxft.features.inference import View, make_forward
from jaxft.materials import extraction, reading, shortage
from jaxft.materials.materials import Materials
from jaxft.materials.model import create_model
from jaxft.models.body import Preprocessing
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.runtime.folders import cache_directory

REMOVE = "Fix or remove them."


def in_batches(settings: Settings, batch_size: int) -> Settings:
    """The settings with this batch size (0 = unchanged); results stay the same."""
    data = replace(settings.data, batch_size=batch_size or settings.data.batch_size)
    return replace(settings, data=data)


def probabilities_of(
    materials: Materials, weights: Weights, tta: int, method: str
) -> Float[np.ndarray, "examples classes"]:
    """Probabilities of the validation split's examples, over `tta` random views and the plain one.

    The random views are those of the run's seed; the same call gives the same numbers.

    Raises:
      UserError: the device runs out of memory.
    """
    with shortage.told(materials.settings, "in inference", hint="", batch="--batch-size"):
        plain, *views = _views(materials, weights, tta)
    return combine(plain, views, method) if tta else plain


def _views(
    materials: Materials, weights: Weights, tta: int
) -> list[Float[np.ndarray, "examples classes"]]:
    """Probabilities by the plain view, and by each random one."""
    placed = sharding.replicate(weights, materials.mesh)
    found = materials.valid_images

    def view(number: int | None) -> np.ndarray:
        keyed = None
        if number is not None:
            keyed = View(materials.settings.seed, TTA_PHASE, number)
        what = "predicting" if number is None else f"view {number + 1} of {tta}"
        features = extraction.extract(materials, placed, found, what, keyed)
        return validate.score(materials, placed, features).probabilities

    return [view(number) for number in (None, *range(tta))]


def materials_of(
    settings: Settings, dataset: Dataset, expected: Preprocessing, console: Console
) -> Materials:
    """Materials for inference on one split, which is both splits of `dataset`."""
    mesh = sharding.data_mesh()
    whole = -(-settings.data.batch_size // mesh.size) * mesh.size  # divides over any devices
    settings = replace(settings, data=replace(settings.data, batch_size=whole))
    alone = Dataset(dataset.classes, dataset.valid.select([]), dataset.valid)
    size, exact = settings.phases[-1].image_size, settings.deterministic
    alone, none, found = reading.read_images(settings, size, alone, console, advice=REMOVE)
    model = create_model(settings, len(dataset.classes), expected)
    forward = make_forward(model, settings.augment, size, mesh, exact)
    cache = cache_directory(settings.cache_dir)
    return Materials(settings, size, mesh, model, forward, alone, none, found, cache, console)
