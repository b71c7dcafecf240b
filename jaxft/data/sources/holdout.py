"""Examples held out for validation, where a source has no validation split of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxft.data import Split
from jaxft.errors import UserError


@dataclass(frozen=True)
class Holdout:
    """A seeded stratified part of the training examples: a share of them, or one fold of several.

    `folds` 0 means a share of `valid_fraction`; else `fold`, counted from 0, is the one of `folds`
    that validates. Only `split_seed` decides, not a run's seed.
    """

    valid_fraction: float = 0.3
    split_seed: int = 42
    folds: int = 0
    fold: int = 0

    def check(self) -> None:
        """Raise UserError where numbers make no sense, listing all of those."""
        if problems := self.problems():
            raise UserError("The held-out part is not valid:", problems)

    def problems(self) -> list[str]:
        """Problems with the numbers."""
        wrong = []
        if not 0 < self.valid_fraction < 1:
            wrong.append("data.valid_fraction should be between 0 and 1")
        if self.split_seed < 0:
            wrong.append("data.split_seed should be 0 or more")
        if self.folds < 0 or self.folds == 1:
            wrong.append("data.folds should be 2 or more, or 0 (none)")
        elif not 0 <= self.fold < max(self.folds, 1):
            wrong.append(f"data.fold should be from 0 to {max(self.folds, 1) - 1}")
        return wrong

    def demand_needed(self, source: str) -> None:
        """Raise UserError where folds are asked of a source with a validation split."""
        if self.folds:
            raise UserError(
                f"{source} has a validation split of its own: data.folds={self.folds} can't "
                "choose another",
                hint="Set data.folds=0, or give the examples of both splits as training examples.",
            )

    def split(self, everything: Split) -> tuple[Split, Split]:
        """Training and validation examples, each in their given order.

        Every class needs two examples (a source reports those that have one).

        Raises:
          UserError: more folds than examples.
        """
        labels = everything.labels
        if self.folds > len(labels):
            raise UserError(f"data.folds is {self.folds}, more than the {len(labels)} examples")
        if self.folds:
            number = stratified_folds(labels, self.folds, self.split_seed)
            train, valid = np.flatnonzero(number != self.fold), np.flatnonzero(number == self.fold)
        else:
            train, valid = stratified_split(labels, self.valid_fraction, self.split_seed)
        return everything.select(train), everything.select(valid)


class Whole(Holdout):
    """Holds nothing out: a data set without a validation split stays without one."""

    def split(self, everything: Split) -> tuple[Split, Split]:
        """All examples, and none."""
        return everything, everything.select([])


def stratified_split(
    labels: Sequence[int] | np.ndarray, valid_fraction: float, split_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the validation examples, both ascending.

    ceil(valid_fraction * n) validate (as scikit-learn counts), shared among the classes by
    largest remainder, with at least one example of every class on either side. Every class
    needs two examples.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    wanted = math.ceil(round(valid_fraction * len(labels), 6))
    exact = counts * wanted / len(labels)
    take = np.floor(exact).astype(int)
    largest = np.argsort(take - exact, kind="stable")[: wanted - take.sum()]
    take[largest] += 1
    take = np.clip(take, 1, counts - 1)
    lots = _lots(split_seed, len(labels))
    valid = np.concatenate(
        [
            members[np.argsort(lots[members], kind="stable")[:count]]
            for members, count in zip(
                (np.flatnonzero(labels == label) for label in classes), take, strict=True
            )
        ]
    )
    valid = np.sort(valid)
    return np.setdiff1d(np.arange(len(labels)), valid), valid


def stratified_folds(labels: Sequence[int] | np.ndarray, folds: int, split_seed: int) -> np.ndarray:
    """The fold of every example, int [N] in 0 ... folds - 1.

    The classes, each shuffled, are dealt out like cards, one class after the other: the folds
    differ by one example at most, in all and in every class. A class of two or more is never in
    one fold alone, so training keeps an example of it whichever fold validates.
    """
    dealt = np.lexsort((_lots(split_seed, len(labels)), np.asarray(labels)))
    fold = np.empty(len(labels), int)
    fold[dealt] = np.arange(len(labels)) % folds
    return fold


def _lots(split_seed: int, count: int) -> np.ndarray:
    """Raw words of a counter-based generator; NumPy keeps these the same, not its distributions."""
    return np.random.Philox(split_seed).random_raw(count)
