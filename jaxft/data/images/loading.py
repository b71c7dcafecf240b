"""Loading of a data set's images: each is decoded once, all bad ones are reported together."""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jaxft.data import Dataset
from jaxft.data.images import seen
from jaxft.data.images.memory import Images, Memory
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.errors import UserError, in_a_line
from jaxft.runtime import hosts
from jaxft.runtime.process import cores, spare_memory_bytes

Progress = Callable[[int, int], None]
GO_ON = "Fix or remove them, or continue without them: --config.data.skip_bad=true"
# A future takes about a kilobyte; a data set may hold millions of images.
JOBS_AT_ONCE = 8192


class Leniency(NamedTuple):
    """Treatment of unreadable images.

    Attributes:
      skip: go on without them, with a warning that lists them; else they end the run.
      warn: called with the warning; None: printed to stderr.
      advice: for the error: how to mend them.
    """

    skip: bool = False
    warn: Callable[[str], None] | None = None
    advice: str = GO_ON


STRICT = Leniency()


def load_images(
    dataset: Dataset,
    sizing: Sizing,
    *,
    leniency: Leniency = STRICT,
    memory_bytes: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[Dataset, Images, Images]:
    """Decode every image once, report all bad ones together, and keep what fits in memory.

    With several processes each decodes its share, and all report what any of them found.

    Args:
      dataset: as registry.open_dataset opened it.
      sizing: its shorter side is canvas_size(image_size).
      leniency: treatment of unreadable images.
      memory_bytes: for both splits; None: `spare_memory_bytes()`.
      cache_dir: keeps the list of files that were seen whole, by path, size and time of change, so
        that images that do not fit in memory are not decoded again merely for this check.
      progress: called with (done, total) images, from this thread.
      workers: decoding threads; None: one for each core.

    Returns:
      The data set (without the skipped images), and the images of train and of valid.

    Raises:
      UserError: listing every unreadable image; with skipping, where none is left, or every class
        that it emptied.
    """
    memory = Memory(spare_memory_bytes() if memory_bytes is None else memory_bytes)
    train = Images(dataset.train, sizing, memory)
    valid = Images(dataset.valid, sizing, memory)
    bad = hosts.together(lambda: _read_all([train, valid], cache_dir, progress, workers))
    bad = _of_all_hosts(bad)
    if not any(bad):
        return dataset, train, valid
    _report(bad, leniency, len(train) + len(valid))
    train, valid = (
        images.select(np.setdiff1d(np.arange(len(images)), list(failed)))
        for images, failed in zip((train, valid), bad, strict=True)
    )
    _check_classes_remain(dataset, dataset.with_splits(train.split, valid.split))
    return dataset.with_splits(train.split, valid.split), train, valid


def _read_all(
    splits: list[Images],
    cache_dir: str | os.PathLike[str] | None,
    progress: Progress | None,
    workers: int | None,
) -> list[dict[int, UnreadableImage]]:
    """By split: index -> the reason why it can't be read."""
    whole = seen.recall(cache_dir)
    jobs = [(which, index) for which, images in enumerate(splits) for index in range(len(images))]
    jobs = jobs[hosts.index() :: hosts.count()]
    bad: list[dict[int, UnreadableImage]] = [{} for _ in splits]
    digests = []

    def read(job: tuple[int, int]) -> UnreadableImage | None:
        images, index = splits[job[0]], job[1]
        if images.memory_full and _digest(images, index) in whole:
            return None
        try:
            images[index]
        except UnreadableImage as error:
            return error
        return None

    with ThreadPoolExecutor(workers or cores(), "decode") as pool:
        try:
            for start in range(0, len(jobs), JOBS_AT_ONCE):
                some = jobs[start : start + JOBS_AT_ONCE]
                for done, ((which, index), error) in enumerate(
                    zip(some, pool.map(read, some), strict=True), start + 1
                ):
                    if error is None:
                        digests.append(_digest(splits[which], index))
                    else:
                        bad[which][index] = error
                    if progress:
                        progress(done, len(jobs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            seen.remember(cache_dir, [digest for digest in digests if digest not in whole])
    return bad


def _digest(images: Images, index: int) -> str:
    """Name under which a look at an image is remembered."""
    return seen.digest(f"{images.split.identity[index]} of {images.sizing.max_pixels}")


def _of_all_hosts(bad: list[dict[int, UnreadableImage]]) -> list[dict[int, UnreadableImage]]:
    """The findings of all hosts, the same on each."""
    if hosts.count() == 1:
        return bad
    mine = [[[index, e.name, e.reason] for index, e in failed.items()] for failed in bad]
    found = hosts.gather(mine)
    return [
        {i: UnreadableImage(name, why) for row in found for i, name, why in row[which]}
        for which in range(len(bad))
    ]


def _report(bad: Iterable[dict[int, UnreadableImage]], leniency: Leniency, total: int) -> None:
    lines = sorted(f"{error.name}: {error.reason}" for failed in bad for error in failed.values())
    count = f"{len(lines)} unreadable image{'s' if len(lines) > 1 else ''}"
    if not leniency.skip:
        raise UserError(f"{count}:", lines, leniency.advice)
    if len(lines) == total:
        raise UserError(f"{count}, and no other image:", lines)
    told = [f"warning: {count} skipped:", *(f"  - {in_a_line(line)}" for line in lines)]
    message = "\n".join(told)
    if leniency.warn:
        leniency.warn(message)
    else:
        print(message, file=sys.stderr)


def _check_classes_remain(before: Dataset, after: Dataset) -> None:
    """Raise UserError where skipping left a class of a split without images."""
    emptied = [
        f"{side}: {name}"
        for side, old, new in (
            ("train", before.train, after.train),
            ("valid", before.valid, after.valid),
        )
        for label, name in enumerate(before.classes)
        if label in old.labels and label not in new.labels
    ]
    if emptied:
        raise UserError("classes that have no readable image left:", emptied)
