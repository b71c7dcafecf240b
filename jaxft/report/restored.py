"""A run as Python has it: its weights at work, its course, its pictures."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from jaxtyping import Float, UInt8

from jaxft.config.plain import as_config
from jaxft.errors import UserError, in_a_line
from jaxft.evaluation import images as inference
from jaxft.evaluation.answers import confusion
from jaxft.evaluation.evaluate import ALL, Evaluated, evaluate_restored
from jaxft.evaluation.inputs import OneImage, given
from jaxft.evaluation.prediction import Prediction, predictions
from jaxft.evaluation.probabilities import Scoring
from jaxft.evaluation.restore import Apply, Restored, apply_of, read_run
from jaxft.recipe import best_epoch
from jaxft.report import losses, rates
from jaxft.report.answers import matrix
from jaxft.report.figure import Picture
from jaxft.report.page.text import four
from jaxft.runtime import noise
from jaxft.runtime.console import Console, for_python
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.config_keys import with_free_keys
from jaxft.workdir.history import read_history
from jaxft.workdir.rows import read_json, read_object

NAMED = 10  # classes in the text of a run


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run, finished or not, as its workdir had it when it was restored.

    Attributes:
      restored: its weights, on the host, and what it takes to use them.
      which: weights these are, `best` or `last`.
      summary: as `summary.json` has it; empty before the run has ended once.
      history: as `metrics.jsonl` has it, a dict for each epoch.
      console: gets the progress of `predict`, `embed` and `evaluate`.
    """

    restored: Restored
    which: str
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    console: Console

    @property
    def workdir(self) -> AnyPath:
        """The folder of the run."""
        return self.restored.workdir

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.restored.classes

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the layer groups `early`, `late` and `head`, NumPy arrays by name."""
        return self.restored.weights.params

    @property
    def batch_stats(self) -> dict[str, Any]:
        """BatchNorm's statistics of the same groups."""
        return self.restored.weights.batch_stats

    @property
    def config(self) -> Any:
        """The run's config, a ConfigDict of one's own: change it and train in another workdir."""
        return as_config(with_free_keys(read_json(self.workdir / "config.json")))

    @cached_property
    def apply(self) -> Apply:
        """A jitted function, uint8 [B, S, S, 3] -> probabilities [B, classes].

        The images are square views in RGB; larger ones are shrunk, with antialiasing, to the run's
        canvas. `load` makes such images of files; `predict` takes them as they are.
        """
        return apply_of(self.restored)

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a walk through its letters, too
        self, images: OneImage, *, tta: int = 0, batch_size: int = 0
    ) -> Prediction: ...

    @overload
    def predict(
        self, images: Iterable[OneImage], *, tta: int = 0, batch_size: int = 0
    ) -> list[Prediction]: ...

    def predict(
        self, images: Any, *, tta: int = 0, batch_size: int = 0
    ) -> Prediction | list[Prediction]:
        """Classify images, as `jaxft predict` does: resized, cropped and normalised as in training.

        Args:
          images: a file's path, one of Pillow's images, or an array, uint8 [height, width, 3] (RGB)
            or [height, width] (gray); of any size. Or a list of these.
          tta: number of random training views besides the plain one.
          batch_size: images at a time, over all devices; 0 = the run's, but a single image alone.

        Returns:
          A Prediction for one image, a list of them for a list.

        Raises:
          UserError: lists every file that is no whole image, and every array of another shape, type
            or range; the device runs out of memory.
        """
        one_or_more = given(images)
        how = Scoring(self.which, tta, batch_size=batch_size)
        found = inference.probabilities(
            self._ready, one_or_more, how, self._console(one_or_more.alone)
        )
        told = predictions(found, self.classes)
        return told[0] if one_or_more.alone else told

    def embed(
        self, images: OneImage | Iterable[OneImage], *, batch_size: int = 0
    ) -> Float[np.ndarray, "*images features"]:
        """Compute the pooled features that the head sees, as `jaxft embed` does.

        Args:
          images, batch_size: as for `predict`.

        Returns:
          float32 [features] for one image, [images, features] for a list.

        Raises:
          UserError: as `predict`.
        """
        one_or_more = given(images)
        found = inference.features(
            self._ready, one_or_more, batch_size, self._console(one_or_more.alone)
        )
        return found[0] if one_or_more.alone else found

    def load(
        self, images: OneImage | Iterable[OneImage]
    ) -> UInt8[np.ndarray, "*images side side 3"]:
        """Read images as the run did, for `apply` or a program of one's own.

        Args:
          images: as for `predict`.

        Returns:
          uint8 [side, side, 3] for one image, [images, side, side, 3] for a list: the middle
          squares, 1.1 times as large as the network's views.

        Raises:
          UserError: as `predict`.
        """
        one_or_more = given(images)
        found = inference.canvases(self._ready, one_or_more, self._console(one_or_more.alone))
        return found[0] if one_or_more.alone else found

    def evaluate(
        self, split: str | None = None, *, source: str = "", tta: int = 0, batch_size: int = 0
    ) -> dict[str, Any]:
        """Compute metrics on a split of the run's data or on other images, as `jaxft evaluate`.

        Args:
          split: valid, train, test, or all of them; None = valid, with a source all.
          source: other labelled images, such as `folder:PATH`; their classes are among the run's.
          tta, batch_size: as for `predict`.

        Returns:
          The metrics by name; docs/results.md explains each.

        Raises:
          UserError: no such split; data that is gone or has other classes.
        """
        return self._evaluated(
            split, source, Scoring(self.which, tta, "fastai07", batch_size)
        ).scores

    def plot_losses(self) -> Picture:
        """Draw losses, accuracy and rates over the epochs so far, as `losses.png` does.

        Raises:
          UserError: no epoch has ended yet.
        """
        return losses.draw(self.history, self._kept())

    def plot_rates(self) -> Picture:
        """Draw the rate of each layer group at every step, as `rates.png` does.

        Raises:
          UserError: the run has not ended yet.
        """
        phases, told = self.restored.settings.phases, self.summary.get("phases", ())
        if len(told) < len(phases):
            raise UserError(f"{self.workdir} has not ended: its rates are drawn at the end.")
        steps_per_epoch = self.history[0]["global_step"]
        found = rates.rates_of(phases, told, steps_per_epoch)
        return rates.draw(found, self.history, self._kept())

    def plot_confusion(self, split: str | None = None, *, source: str = "") -> Picture:
        """Draw which classes are taken for which others; arguments and errors as for `evaluate`."""
        found = self._evaluated(split, source, Scoring(self.which))
        labels = found.images.split.labels
        counts = confusion(found.probabilities.argmax(1), labels, len(self.classes))
        return matrix.draw(counts, self.classes)

    def __repr__(self) -> str:
        """The workdir, the model, the classes, the best epoch."""
        settings, count = self.restored.settings, len(self.classes)
        more = ", ..." * (count > NAMED)
        lines = [
            f"Run {self.workdir}, {self.which} weights",
            f"  model: {settings.model.name}, {settings.phases[-1].image_size} px",
            f"  classes: {count}: {', '.join(map(in_a_line, self.classes[:NAMED]))}{more}",
        ]
        if self.history:
            kept = self._kept()
            lines.append(
                f"  best: accuracy {kept['accuracy']:.4f}, "
                f"validation loss {four(kept['val_loss'])} "
                f"({best_epoch.in_words(kept)})"
            )
        return "\n".join(lines)

    @cached_property
    def _ready(self) -> inference.Ready:
        return inference.get_ready(self.restored)

    def _console(self, alone: bool) -> Console:
        return Console(None) if alone else self.console

    def _evaluated(self, split: str | None, source: str, how: Scoring) -> Evaluated:
        split = split or (ALL if source else "valid")
        programs = self._ready.programs
        return evaluate_restored(self.restored, split, how, self.console, source, programs)

    def _kept(self) -> dict[str, Any]:
        """The epoch whose weights are kept, so far if the run has not ended."""
        if not self.history:
            raise UserError(f"{self.workdir}: no epoch has ended yet.")
        best = [row for row in self.history if row.get("best")] or self.history
        kept: dict[str, Any] = self.summary.get("best") or best[-1]
        return kept


def restore(workdir: str | os.PathLike[str], which: str = "best", *, quiet: bool = False) -> Run:
    """Open a run, with the weights of its newest whole checkpoint.

    Args:
      workdir: of the run, finished or not.
      which: `best` (what the run ends with) or `last` (the latest).
      quiet: no progress bars and no lines, whatever is done with it.

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    noise.hush()
    restored = read_run(workdir, which)
    place = restored.workdir
    return Run(
        restored,
        which,
        read_object(place / "summary.json") or {},
        read_history(place),
        Console(None) if quiet else for_python(),
    )
