"""Evaluate a run on one of its splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxft.data import Dataset, Split
from jaxft.errors import UserError
from jaxft.evaluation.probabilities import in_batches, materials_of, probabilities_of
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.materials.data import open_data
from jaxft.materials.identity import check_listed, describe_data
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.set_up import set_up

SPLITS = ("train", "valid", "test")


def score_split(
    workdir: str | AnyPath,
    split: str = "valid",
    which: str = "best",
    tta: int = 0,
    method: str = "fastai07",
    console: Console | None = None,
    batch_size: int = 0,
) -> dict[str, Any]:
    """Metrics of a run's weights on one of its splits.

    Args:
      workdir: of the run; its data must still be where config.json says.
      split: `valid`, `train` or `test`.
      which: `best` or `last`.
      tta: number of random training views besides the plain one.
      method: way to combine views, `fastai07` or `fastai2`; see tta.combine.
      console: gets the progress.
      batch_size: images at a time, over all devices (0 = the run's).

    Returns:
      examples, accuracy, loss, tta, the accuracy of every class by its name, and the mean of these,
      balanced_accuracy.

    Raises:
      UserError: what `restore` raises; no such split; data that is gone or has other classes.
    """
    console = console or Console(None)
    settings, classes, expected = read_workdir(workdir)
    settings = in_batches(settings, batch_size)
    weights = read_weights(workdir, which)
    if split not in SPLITS:
        raise UserError(
            f"No split is called {split!r}", hint=f"The splits are: {', '.join(SPLITS)}."
        )
    set_up(settings.cache_dir)
    dataset = hosts.together(lambda: open_data(settings))
    check_classes(dataset, classes)
    try:
        check_listed(paths.of(workdir), describe_data(dataset))
    except UserError as error:
        console.say(f"warning: {error}")
    chosen: Split | None = getattr(dataset, split)
    if chosen is None:
        raise UserError(
            f"{settings.data.source} has no {split} split",
            hint="A folder's is PATH/test, a CSV's the rows with split=test, idx's t10k-*.",
        )
    materials = materials_of(settings, Dataset(classes, chosen, chosen), expected, console)
    probabilities = probabilities_of(materials, weights, tta, method)
    scores = scores_of(probabilities, materials.dataset.valid.labels, classes)
    return {
        "split": split,
        "weights": which,
        "examples": len(probabilities),
        "tta": tta,
        **scores,
    }


def check_classes(dataset: Dataset, classes: Sequence[str]) -> None:
    """Raise UserError if the data's classes differ from a run's."""
    if dataset.classes != tuple(classes):
        raise UserError(
            "The data's classes differ from the run's:",
            [f"only in the run: {c}" for c in classes if c not in dataset.classes]
            + [f"only in the data: {c}" for c in dataset.classes if c not in classes],
        )


def scores_of(
    probabilities: Float[np.ndarray, "examples classes"],
    labels: Int[np.ndarray, " examples"],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Metrics of probabilities, over all examples and by class."""
    right = probabilities.argmax(1) == labels
    by_class = {
        name: float(right[labels == index].mean())
        for index, name in enumerate(classes)
        if (labels == index).any()
    }
    picked = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": sum(by_class.values()) / max(len(by_class), 1),
        "loss": float(-np.log(picked).mean()),
        "accuracy_by_class": by_class,
    }
