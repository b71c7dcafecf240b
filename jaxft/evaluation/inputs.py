"""Images that a caller hands over, files, Pillow's or arrays, as a split; checked as it is read."""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxft.data import Split
from jaxft.data.images.decode import from_pillow
from jaxft.data.images.file import decode
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage

OneImage = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array

EXPECTED = (
    "An image is a file, one of Pillow's, or an array: uint8 from 0 to 255, [height, width, 3] in "
    "RGB or [height, width] in gray. Several are a list of these."
)
TEXTS = "OUT"  # kinds of an array of files, such as a column of a table


class Given(NamedTuple):
    """Images as a caller gave them; `alone`: one that was in no list."""

    images: list[Any]
    alone: bool


def given(images: Any) -> Given:
    """Take one image, or several: a list, or anything else that can be walked through.

    Not one of them is looked at.
    """
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        return Given([images], True)
    array = np.asarray(images) if hasattr(images, "__array__") else None
    if not isinstance(images, Iterable) or (array is not None and array.dtype.kind not in TEXTS):
        return Given([images], True)
    return Given(list(images), False)


def inputs_split(given: Given) -> Split:
    """Return a split over images of any kind, each called by its file or its place in the list.

    An image that is none, for its type, shape, channels or range, is an `UnreadableImage` when it
    is read.
    """
    names = tuple(_name(image, place, given.alone) for place, image in enumerate(given.images))
    labels = np.zeros(len(names), np.int32)
    return Split(names, labels, names, partial(_read, given.images, names))


def _name(image: Any, place: int, alone: bool) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    return "the image" if alone else f"images[{place}]"


def _read(
    images: Sequence[Any],
    names: Sequence[str],
    index: int,
    sizing: Sizing = OWN_SIZE,
    share: float | None = None,
) -> np.ndarray:
    image, name = images[index], names[index]
    if isinstance(image, str | os.PathLike):
        return decode(os.path.expanduser(image), sizing, share)
    if isinstance(image, Image.Image):
        return from_pillow(image, name, sizing, share)
    if hasattr(image, "__array__"):
        return resize(_rgb(np.asarray(image), name), sizing, share)
    raise UnreadableImage(name, f"{type(image).__name__} is no image")


def _rgb(array: np.ndarray, name: str) -> np.ndarray:
    """The pixels of an array, gray ones three times."""
    gray = array.ndim == 2
    problems = []
    if not array.size or not (gray or (array.ndim == 3 and array.shape[2] == 3)):
        problems.append(f"its shape is {list(array.shape)}")
    if array.dtype != np.uint8:
        numbers = array.size and array.dtype.kind in "iuf"
        span = f" from {array.min():.4g} to {array.max():.4g}" if numbers else ""
        problems.append(f"it is {array.dtype}{span}")
    if problems:
        raise UnreadableImage(name, " and ".join(problems))
    return np.repeat(array[..., None], 3, axis=-1) if gray else array
