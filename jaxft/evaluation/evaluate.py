"""Evaluate a run on one of its splits, or on other labelled images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.config.settings import Settings
from jaxft.data import Dataset, Split, joined
from jaxft.data.images.memory import Images
from jaxft.data.sources import registry
from jaxft.data.sources.holdout import Whole
from jaxft.errors import UserError
from jaxft.evaluation.answers import answers
from jaxft.evaluation.own_data import open_own
from jaxft.evaluation.probabilities import (
    Programs,
    Scoring,
    in_batches,
    of_split,
    probabilities_of,
    programs_of,
)
from jaxft.evaluation.restore import Restored, read_run
from jaxft.runtime import hosts
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath

SPLITS = ("train", "valid", "test")
ALL = "all"


class Evaluated(NamedTuple):
    """Probabilities of a split's images [examples, classes], and what they say (`answers`)."""

    scores: dict[str, Any]
    probabilities: Float[np.ndarray, "examples classes"]
    images: Images
    classes: tuple[str, ...]


def evaluate(
    workdir: str | AnyPath,
    split: str = "valid",
    which: str = "best",
    tta: int = 0,
    method: str = "fastai07",
    console: Console | None = None,
    batch_size: int = 0,
    source: str = "",
) -> Evaluated:
    """Evaluate a run's weights on one of its splits, or on another source.

    Args:
      workdir: of the run; its data must still be where config.json says, unless `source` is given.
      split: `valid`, `train`, `test`, or `all` of them.
      which: `best` or `last`.
      tta: number of random training views besides the plain one.
      method: way to combine views, `fastai07` or `fastai2`; see tta.combine.
      console: gets the progress.
      batch_size: images at a time, over all devices (0 = the run's).
      source: other labelled images, as config.data.source; their classes are among the run's.

    Raises:
      UserError: what `restore` raises; no such split; data that is gone or has other classes.
    """
    restored = read_run(workdir, which)
    how = Scoring(which, tta, method, batch_size)
    return evaluate_restored(restored, split, how, console or Console(None), source)


def evaluate_restored(
    restored: Restored,
    split: str,
    how: Scoring,
    console: Console,
    source: str = "",
    programs: Programs | None = None,
) -> Evaluated:
    """As `evaluate`, of weights that are read already: `how.weights` is their name.

    `programs`: of the run, if there are some already.
    """
    workdir, settings, classes, expected, weights = restored
    if split not in (*SPLITS, ALL):
        raise UserError(
            f"No split is called {split!r}", hint=f"The splits are: {', '.join((*SPLITS, ALL))}."
        )
    settings = in_batches(settings, how.batch_size)
    if source:
        settings = replace(settings, data=replace(settings.data, source=source))
        dataset = hosts.together(lambda: open_other(source, classes))
    else:
        dataset = hosts.together(lambda: open_own(settings, workdir, classes, console))
    chosen = choose(dataset, split, settings)
    programs = programs or programs_of(settings, classes, expected)
    materials = of_split(programs, settings, chosen, console)
    probabilities = probabilities_of(materials, weights, how.tta, how.method)
    scores = answers(probabilities, materials.dataset.valid.labels, classes)
    about = {
        "split": split,
        "weights": how.weights,
        "examples": len(probabilities),
        "tta": how.tta,
    }
    if source:
        about = {"source": source, **about}
    return Evaluated({**about, **scores}, probabilities, materials.valid_images, classes)


def open_other(source: str, classes: Sequence[str]) -> Dataset:
    """Open other data, nothing held out, with labels that count among a run's classes.

    Raises:
      UserError: the source's; a class that the run has not.
    """
    found = registry.open_held_out(source, Whole())
    unknown = [name for name in found.classes if name not in classes]
    if unknown:
        raise UserError(
            f"{source} has classes that the run has not:",
            unknown,
            f"The run's are: {', '.join(classes)}.",
        )
    number = np.array([classes.index(name) for name in found.classes], np.int32)

    def renumbered(split: Split) -> Split:
        return replace(split, labels=number[split.labels])

    test = renumbered(found.test) if found.test else None
    return Dataset(tuple(classes), renumbered(found.train), renumbered(found.valid), test)


def choose(dataset: Dataset, split: str, settings: Settings) -> Split:
    """Return a split, or all of them as one.

    Raises:
      UserError: the data have no such split.
    """
    if split == ALL:
        every = (dataset.train, dataset.valid, dataset.test)
        return joined([one for one in every if one is not None and len(one)])
    chosen: Split | None = getattr(dataset, split)
    if not chosen:
        raise UserError(
            f"{settings.data.source} has no {split} split",
            hint="A folder's is PATH/test, a CSV's the rows with split=test, idx's t10k-*.",
        )
    return chosen
