"""Data sets, their splits, and batches of images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

# Called as Split says; all but the index need not be given.
Read = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Split:
    """The examples of one split, in a fixed order; nothing is decoded until it is read.

    Attributes:
      names: of the examples, for people: a file, or "digits/17".
      labels: int32 [N], positions in the data set's classes.
      identity: content identity of each example ("path:size:mtime_ns"); a cache keys on it.
      read: (index, sizing=OWN_SIZE, share=None) -> uint8 [height, width, 3], upright RGB;
        arguments and errors are decode.decode_bytes's.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    identity: tuple[str, ...]
    read: Read

    def __len__(self) -> int:
        return len(self.names)

    def select(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """The split of the examples at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return Split(
            tuple(self.names[i] for i in chosen),
            self.labels[chosen],
            tuple(self.identity[i] for i in chosen),
            partial(_read_selected, self.read, chosen),
        )


def _read_selected(read: Read, chosen: np.ndarray, index: int, *how: Any) -> np.ndarray:
    return read(int(chosen[index]), *how)


def joined(splits: Sequence[Split]) -> Split:
    """Return the split of all examples of several splits, one after another."""
    ends = np.cumsum([len(split) for split in splits])
    return Split(
        tuple(name for split in splits for name in split.names),
        np.concatenate([split.labels for split in splits]),
        tuple(one for split in splits for one in split.identity),
        partial(_read_joined, tuple(split.read for split in splits), ends),
    )


def _read_joined(reads: Sequence[Read], ends: np.ndarray, index: int, *how: Any) -> np.ndarray:
    which = int(np.searchsorted(ends, index, side="right"))
    return reads[which](index - (int(ends[which - 1]) if which else 0), *how)


@dataclass(frozen=True)
class Dataset:
    """Splits over the same classes.

    Attributes:
      classes: names of the classes; a label is a position in it.
      test: None where the source has none; only an evaluation that asks for it decodes it.
      left_out: by suffix, the number of files beside the images.
    """

    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def with_splits(self, train: Split, valid: Split) -> "Dataset":
        """The data set with other splits for training and validation."""
        return replace(self, train=train, valid=valid)


class Batch(NamedTuple):
    """A host batch: canvases, from which the device takes its views.

    `image` uint8 [B,S,S,3], `label` int32 [B], `index` int32 [B] (position in the split),
    `mask` bool [B] (False where the last batch is padded).
    """

    image: np.ndarray
    label: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    mask: np.ndarray
