"""Batches of canvases, read ahead.

Nothing here remembers its place: any step of any epoch follows from (seed, phase, epoch, step), so
that a run goes on from a checkpoint without reading the batches before it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxft.data import Batch
from jaxft.data.assembly import Assembler, join
from jaxft.data.feed import Feed, read_ahead
from jaxft.data.images.memory import Images
from jaxft.data.order import steps_per_epoch
from jaxft.data.places import Places, TrainPlaces, eval_places
from jaxft.data.slots import Slots
from jaxft.runtime.process import cores

# Examples that a thread decodes at once, of a batch that all threads share: enough that handing
# them over costs nothing in comparison, and so few that the first batch is soon there.
PART_EXAMPLES = 16


class Stretch(NamedTuple):
    """Consecutive steps of a phase.

    Attributes:
      seed: of the run.
      phase: number of the phase, part of every key.
      steps: how many.
      first: number of the first, counted over the epochs of the phase.
    """

    seed: int
    phase: int
    steps: int
    first: int = 0

    @property
    def numbers(self) -> range:
        """Numbers of the steps."""
        return range(self.first, self.first + self.steps)


class Readers(NamedTuple):
    """Readers of the images that are not in memory.

    Attributes:
      threads: that decode; 0: one for each core.
      workers: processes that decode instead of the threads.
    """

    threads: int = 0
    workers: int = 0


IN_THREADS = Readers()


def train_batches(
    images: Images,
    labels: np.ndarray,
    *,
    slots: Slots,
    canvas: int,
    stretch: Stretch,
    balanced: bool = False,
    finish: Callable[[Batch], Any] = lambda batch: batch,
    readers: Readers = IN_THREADS,
) -> Feed[Any]:
    """Shuffled batches for a stretch of a phase, read ahead.

    Args:
      images: their shorter side is `canvas`.
      labels: of the images.
      slots: slots of each batch that this process fills.
      canvas: side of the squares, pixels.
      stretch: steps to read for.
      balanced: draw each class equally often.
      finish: called with each batch, ahead of time, in a thread.
      readers: threads or processes that decode.

    Raises:
      ValueError: the batch is larger than the number of images, or no multiple of the hosts.
      UnreadableImage: naming the file, where one can no longer be read.
      UserError: a worker was killed.
    """
    size = slots.batch_size
    per_epoch = steps_per_epoch(len(images), size)
    mine, drawn = slots.mine(), labels if balanced else None
    places = TrainPlaces(stretch.seed, stretch.phase, len(images), drawn, per_epoch, size, mine)
    return _read(images, labels, canvas, places, len(mine), stretch.numbers, finish, readers)


def eval_batches(
    images: Images,
    labels: np.ndarray,
    *,
    slots: Slots,
    canvas: int,
    first: int = 0,
    shares: np.ndarray | None = None,
    threads: int = 0,
) -> Feed[Batch]:
    """Every example from `first` on once, in order; the last batch is padded, mask False there.

    All hosts yield the same number of batches. Further arguments and errors as for train_batches;
    threads suffice, as nothing else wants this process's interpreter meanwhile.

    Args:
      shares: place of each example's canvas, from `crop_shares`; None: centred.
      threads: that decode, as `Readers.threads`.
    """
    size, mine = slots.batch_size, slots.mine()
    shares = np.full(len(images), 0.5) if shares is None else shares
    places = partial(eval_places, first, shares, size, mine)
    numbers = range(-(-max(len(images) - first, 0) // size))
    readers = Readers(threads)
    return _read(images, labels, canvas, places, len(mine), numbers, lambda batch: batch, readers)


def _read(
    images: Images,
    labels: np.ndarray,
    canvas: int,
    places: Places,
    size: int,
    numbers: range,
    finish: Callable[[Batch], Any],
    readers: Readers,
) -> Feed[Any]:
    """Read batches of `size` examples ahead."""
    if images.shorter_side != canvas:
        raise ValueError(f"images are {images.shorter_side} pixels, canvases {canvas}")
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if images.in_memory:  # nothing to share out: copying a part twice would take longer
        parts, threads, workers = 1, 0, 0
    else:
        parts, threads = -(-size // PART_EXAMPLES), readers.threads or cores()
        workers = readers.workers
    return read_ahead(
        Assembler(images, labels, canvas, places, parts),
        numbers,
        parts=parts,
        join=join,
        finish=finish,
        threads=threads,
        workers=workers,
    )
