"""Images on which exported models are compared with the run, and the run's own answers."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxft.data import Dataset, Split
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.sources.files import files_split, image_files
from jaxft.errors import UserError
from jaxft.evaluation.own_data import open_own
from jaxft.evaluation.probabilities import materials_of, scored
from jaxft.export.subject import Subject
from jaxft.runtime import paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath

COUNT = 50  # images, at most
PATCHES = 6  # a side of a made-up image


class Reference(NamedTuple):
    """Canvases, the run's own probabilities of them, and words for what the images are."""

    canvases: UInt8[np.ndarray, "images side side 3"]
    probabilities: Float[np.ndarray, "images classes"]
    told: str


def ask(
    subject: Subject, workdir: str | AnyPath, images: Sequence[str], console: Console
) -> Reference:
    """Read up to COUNT images as prediction does, and let the run classify them.

    Args:
      subject: of the run.
      workdir: of the run, whose validation images are taken where none are given.
      images: paths of images and folders; or none.
      console: gets the progress, and a warning where the run's own images are gone.

    Raises:
      UserError: missing paths; files that are not images; the device runs out of memory.
    """
    split, told = images_of(subject, workdir, images, console)
    split = split.select(spread(len(split)))
    dataset = Dataset(subject.classes, split, split)
    with jax.default_matmul_precision("highest"):
        materials = materials_of(subject.settings, dataset, subject.model.preprocessing, console)
        found = scored(materials, subject.weights, 0, "").probabilities
    read = materials.valid_images
    canvases = np.stack([read.canvas(index) for index in range(len(read))])
    return Reference(canvases, found, f"{len(canvases)} {told}")


def spread(length: int) -> np.ndarray:
    """Return up to COUNT places, evenly over a split of this length."""
    return np.unique(np.linspace(0, length - 1, COUNT).round().astype(int))


def images_of(
    subject: Subject, workdir: str | AnyPath, images: Sequence[str], console: Console
) -> tuple[Split, str]:
    """Return all images that may be asked about, and words for them; arguments as for `ask`."""
    if images:
        paths.demand(*images)
        return files_split(image_files(images)), "images of --images"
    try:
        own = open_own(subject.settings, workdir, subject.classes, console)
        return own.valid, "of the run's validation images"
    except UserError as error:
        console.say(f"warning: {error}\nMade-up images are compared; --images=PATH names others.")
    return _made_up(subject.canvas), "made-up images"


def _made_up(side: int) -> Split:
    """Smooth random images, the same ones on every call."""
    coarse = np.random.RandomState(0).randint(0, 256, (COUNT, PATCHES, PATCHES, 3)).astype(np.uint8)
    drawn = [np.asarray(Image.fromarray(one).resize((side, side))) for one in coarse]
    names = tuple(f"made-up/{number}" for number in range(COUNT))
    return Split(names, np.zeros(COUNT, np.int32), names, partial(_read, drawn))


def _read(
    images: Sequence[np.ndarray], index: int, _: Sizing = OWN_SIZE, __: float | None = None
) -> np.ndarray:
    return images[index]
