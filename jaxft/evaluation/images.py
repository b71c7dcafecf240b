"""A run's weights on images that a caller hands over, call by call."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxft.data.images.sizing import canvas_size
from jaxft.devices import sharding
from jaxft.evaluation.inputs import EXPECTED, Given, inputs_split
from jaxft.evaluation.probabilities import (
    Programs,
    Scoring,
    in_batches,
    of_split,
    programs_of,
    scored_by,
)
from jaxft.evaluation.restore import Restored
from jaxft.materials import extraction, shortage
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import paths
from jaxft.runtime.console import Console


class Ready(NamedTuple):
    """A run's weights on the mesh, and the programs that take them."""

    restored: Restored
    programs: Programs
    placed: Weights


def get_ready(restored: Restored) -> Ready:
    """Place the weights; programs are compiled as batches of a shape come."""
    programs = programs_of(restored.settings, restored.classes, restored.expected)
    return Ready(restored, programs, sharding.replicate(restored.weights, programs.mesh))


def probabilities(
    ready: Ready, given: Given, how: Scoring, console: Console
) -> Float[np.ndarray, "images classes"]:
    """Probabilities of images, in their order.

    Raises:
      UserError: listing every image that cannot be read or is none; the device runs out of memory.
    """
    if not given.images:
        return np.zeros((0, len(ready.restored.classes)), np.float32)
    materials = _materials(ready, given, how.batch_size, console)
    with shortage.told(materials.settings, "in inference", hint="", batch="batch_size"):
        return scored_by(materials, ready.placed, how.tta, how.method).probabilities


def features(
    ready: Ready, given: Given, batch_size: int, console: Console
) -> Float[np.ndarray, "images features"]:
    """The body's pooled features of images, in their order; otherwise as `probabilities`."""
    if not given.images:
        return np.zeros((0, ready.programs.model.feature_size), np.float32)
    materials = _materials(ready, given, batch_size, console)
    with shortage.told(materials.settings, "in inference", hint="", batch="batch_size"):
        found = extraction.extract(materials, ready.placed, materials.valid_images, "features")
    return found.astype(np.float32)


def canvases(
    ready: Ready, given: Given, console: Console
) -> UInt8[np.ndarray, "images side side 3"]:
    """The squares from which the network's views are cut; otherwise as `probabilities`."""
    side = canvas_size(ready.restored.settings.phases[-1].image_size)
    found = np.zeros((len(given.images), side, side, 3), np.uint8)
    if given.images:
        images = _materials(ready, given, 0, console).valid_images
        for index in range(len(images)):
            found[index] = images.canvas(index)
    return found


def _materials(ready: Ready, given: Given, batch_size: int, console: Console) -> Materials:
    paths.demand(*(image for image in given.images if isinstance(image, str)))
    settings = in_batches(ready.restored.settings, batch_size, len(given.images))
    strict = replace(settings, data=replace(settings.data, skip_bad=False))
    return of_split(ready.programs, strict, inputs_split(given), console, EXPECTED)
