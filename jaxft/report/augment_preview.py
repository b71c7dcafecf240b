"""A contact sheet of augmented training images, to see the effect of a config's augmentation."""

import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxft.augment import mix
from jaxft.augment.augment import augment
from jaxft.augment.augmentation import Augmentation, in_words
from jaxft.augment.view import evaluate_view
from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.images.memory import Images
from jaxft.data.order import epoch_key, position_keys
from jaxft.report.figure import save_figure
from jaxft.runtime.paths import AnyPath

NAME_WIDTH = 16  # letters that fit beside a row


def make(
    settings: Settings, dataset: Dataset, output: AnyPath, examples: int = 8, views: int = 6
) -> None:
    """Draw training images, the classes in turn, and random views of each, into an image file.

    Views have the last phase's size. The first column is the evaluation view. Mixing uses the image
    of the row below or above, as in training.

    Raises:
      UnreadableImage: naming the file.
    """
    split = dataset.train
    chosen = choose(split.labels, examples)
    size = settings.phases[-1].image_size
    images = Images(split, settings.data.sizing(size))
    canvases = jnp.asarray(np.stack([images.canvas(i) for i in chosen]))
    columns = [np.asarray(evaluate_view(canvases, size))]
    view = jax.jit(partial(_view, settings=settings.augment, image_size=size))
    for number in range(views):
        key = epoch_key(settings.seed, 0, number)
        columns.append(np.asarray(view(canvases, key)))
    names = [dataset.classes[split.labels[i]] for i in chosen]
    title = f"{size} px; {in_words(settings.augment)}"
    save_figure(_sheet(columns, names, title), output)


def choose(labels: np.ndarray, examples: int) -> list[int]:
    """Positions of at most `examples` examples: the first of every class, the second, ..."""
    turn = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    chosen: list[int] = np.lexsort((labels, turn))[:examples].tolist()
    return chosen


def _view(
    canvases: jax.Array, key: jax.Array, settings: Augmentation, image_size: int
) -> jax.Array:
    """Return one random view of each canvas."""
    keys = position_keys(key, jnp.arange(len(canvases), dtype=jnp.int32))
    views = augment(canvases, keys, settings, image_size)
    paired = len(canvases) // 2 * 2 if settings.mixes else 0
    mixed, _ = mix.mix(views[:paired], keys[:paired], settings) if paired else (views[:0], None)
    return jnp.concatenate([mixed, views[paired:]])


def _sheet(columns: list[np.ndarray], names: list[str], title: str) -> Figure:
    rows = len(names)
    figure = Figure(figsize=(1.2 * len(columns) + 0.8, 1.2 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for place, axes in np.ndenumerate(grid):
        row, column = place
        axes.imshow(columns[column][row])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if row == 0:
            axes.set_title("evaluation" if column == 0 else f"view {column}", fontsize=8)
        if column == 0:
            axes.set_ylabel(textwrap.fill(names[row], NAME_WIDTH), fontsize=8)
    figure.suptitle(title, fontsize=7, wrap=True)
    return figure
