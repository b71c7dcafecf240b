"""From (seed, phase, epoch, step) to batches: order, keys, canvases.

Nothing here remembers where it is: any step of any epoch follows from its number, so that a
run goes on from a checkpoint without reading what came before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from jaxft.data import Batch
from jaxft.data.feed import Feed, read_ahead
from jaxft.data.images.memory import Images
from jaxft.data.order import crop_shares, host_order, steps_per_epoch
from jaxft.runtime.process import cores

# What a thread decodes at once, of a batch that all threads share: enough that handing it over
# costs nothing beside it, and little enough that the first batch is soon there.
PART_EXAMPLES = 16


# A batch's number -> the examples of this process's share of it, and where each one's canvas lies.
Places = Callable[[int], tuple[np.ndarray, np.ndarray]]


def train_batches(
    images: Images,
    labels: np.ndarray,
    *,
    batch_size: int,
    canvas: int,
    seed: int,
    phase: int,
    start_step: int = 0,
    steps: int,
    host_index: int = 0,
    host_count: int = 1,
    layout: np.ndarray | None = None,
    balanced: bool = False,
    finish: Callable[[Batch], Any] = lambda batch: batch,
    threads: int = 0,
    workers: int = 0,
) -> Feed[Any]:
    """Shuffled batches for steps start_step ... start_step + steps - 1 of a phase, read ahead.

    Args:
      images: whose shorter side is `canvas`.
      batch_size: over all hosts; this one yields its share of it.
      phase: number of the phase, part of every key.
      start_step: counted over the epochs of the phase.
      layout: where each of a batch's examples stands, as `layout` gives it; None: in order.
      balanced: whether each class is drawn equally often.
      finish: what becomes of each, ahead of time, in a thread.
      threads: that decode what is not in memory; 0: one for each core.
      workers: processes that decode instead, where not all is in memory.

    Raises:
      ValueError: batch_size is more than there are images, or no multiple of host_count.
      UnreadableImage: naming the file, where one can no longer be read.
      UserError: a worker was killed.
    """
    per_epoch = steps_per_epoch(len(images), batch_size)
    places = np.arange(batch_size) if layout is None else layout
    mine = places[_share(batch_size, host_index, host_count)]
    drawn = labels if balanced else None
    chosen = _TrainPlaces(seed, phase, len(images), drawn, per_epoch, batch_size, mine)
    numbers = range(start_step, start_step + steps)
    return _read(images, labels, canvas, chosen, len(mine), numbers, finish, threads, workers)


def eval_batches(
    images: Images,
    labels: np.ndarray,
    *,
    batch_size: int,
    canvas: int,
    first: int = 0,
    shares: np.ndarray | None = None,
    host_index: int = 0,
    host_count: int = 1,
    threads: int = 0,
) -> Feed[Batch]:
    """Every example from `first` on once, in order; the last batch is padded, mask False there.

    All hosts yield the same number of batches. Further arguments and errors as for train_batches;
    threads suffice, as nothing else wants this process's interpreter meanwhile.

    Args:
      shares: where each example's canvas lies, as `crop_shares` gives it; None: centred.
    """
    mine = np.arange(batch_size)[_share(batch_size, host_index, host_count)]
    shares = np.full(len(images), 0.5) if shares is None else shares
    chosen = partial(_eval_places, first, shares, batch_size, mine)
    numbers = range(-(-max(len(images) - first, 0) // batch_size))
    return _read(images, labels, canvas, chosen, len(mine), numbers, lambda batch: batch, threads)


def _share(batch_size: int, host_index: int, host_count: int) -> slice:
    if batch_size % host_count:
        raise ValueError(f"batch_size {batch_size} is no multiple of the {host_count} hosts")
    size = batch_size // host_count
    return slice(host_index * size, (host_index + 1) * size)


@dataclass(frozen=True)
class _TrainPlaces:
    """The places of every step of a phase; whole epochs are known at a time, the newest two."""

    seed: int
    phase: int
    examples: int
    balanced_labels: np.ndarray | None
    per_epoch: int
    batch_size: int
    mine: np.ndarray
    known: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, within = divmod(step, self.per_epoch)
        indices, shares = self._epoch(epoch)
        positions = within * self.batch_size + self.mine
        return indices[positions], shares[positions]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        # Two threads may both compute it: the same, so that it does not matter whose stays.
        found = self.known.get(epoch)
        if found is None:
            where = (self.seed, self.phase, epoch, self.examples)
            found = host_order(*where, self.balanced_labels), crop_shares(*where)
            self.known[epoch] = found
            self.known.pop(epoch - 2, None)
        return found


def _eval_places(
    first: int, shares: np.ndarray, batch_size: int, mine: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    indices = first + number * batch_size + mine
    return indices, shares[np.minimum(indices, len(shares) - 1)]


def _read(
    images: Images,
    labels: np.ndarray,
    canvas: int,
    places: Places,
    share: int,
    numbers: range,
    finish: Callable[[Batch], Any],
    threads: int,
    workers: int = 0,
) -> Feed[Any]:
    if images.shorter_side != canvas:
        raise ValueError(f"images are {images.shorter_side} pixels, canvases {canvas}")
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if images.in_memory:  # nothing to share out: copying a part twice would take longer
        parts, threads, workers = 1, 0, 0
    else:
        parts, threads = -(-share // PART_EXAMPLES), threads or cores()
    return read_ahead(
        _Assembler(images, labels, canvas, places, parts),
        numbers,
        parts=parts,
        join=_join,
        finish=finish,
        threads=threads,
        workers=workers,
    )


@dataclass(frozen=True)
class _Assembler:
    """Puts together part number `parts * n + p`, the p-th part of batch n."""

    images: Images
    labels: np.ndarray
    canvas: int
    places: Places
    parts: int

    def __call__(self, number: int) -> Batch:
        batch, part = divmod(number, self.parts)
        indices, shares = self.places(batch)
        size = -(-len(indices) // self.parts)
        here = slice(part * size, (part + 1) * size)
        return self._part(indices[here], shares[here])

    def _part(self, indices: np.ndarray, shares: np.ndarray) -> Batch:
        mask = indices < len(self.images)
        indices = np.where(mask, indices, 0).astype(np.int32)
        image = np.zeros((len(indices), self.canvas, self.canvas, 3), np.uint8)
        for slot in np.flatnonzero(mask).tolist():
            image[slot] = self._canvas(int(indices[slot]), float(shares[slot]))
        labels = np.where(mask, self.labels[indices], 0).astype(np.int32)
        return Batch(image, labels, indices, mask)

    def _canvas(self, index: int, share: float) -> np.ndarray:
        try:
            return self.images.canvas(index, share)
        except Exception as error:
            error.add_note(f"while reading {self.images.split.names[index]}")
            raise


def _join(parts: Sequence[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    return Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
