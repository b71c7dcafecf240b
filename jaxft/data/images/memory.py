"""The pixels of a split: checked once, resized once, kept in memory while there is room."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from jaxft.data import Dataset, Split
from jaxft.data.images.resize import crop
from jaxft.data.images.sizing import MAX_PIXELS
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.errors import UserError
from jaxft.runtime import hosts, paths
from jaxft.runtime.process import cores, spare_memory_bytes

Progress = Callable[[int, int], None]
GO_ON = "Mend or remove them, or go on without them: --config.data.skip_bad=true"
REMEMBERED = "whole_images.txt"
# A future takes about a kilobyte; a data set may hold millions of images.
JOBS_AT_ONCE = 8192


class Memory:
    """A number of bytes that the images of several splits share."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Sets `size` bytes aside; False, and nothing taken, where they are not there."""
        with self._lock:
            fits = size <= self._free
            self._free -= size * fits
            return fits

    @property
    def full(self) -> bool:
        return self._free <= 0

    def close(self) -> None:
        """Gives the rest away, so that what comes later does not squeeze in by luck."""
        with self._lock:
            self._free = 0


class Images:
    """A split's images with their shorter side resized: `len(images)`, `images[i]`.

    Each is decoded once and kept while the memory lasts, then decoded whenever asked for.
    `images[i]` is uint8 [height, width, 3], min(height, width) == shorter_side; it may be shared:
    do not write into it. Raises UnreadableImage. Safe to read from several threads.
    """

    def __init__(
        self,
        split: Split,
        shorter_side: int,
        memory: Memory | None = None,
        interpolation: str = "bilinear",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.split = split
        self.shorter_side = shorter_side
        self.interpolation = interpolation
        self.max_pixels = max_pixels
        self._memory = memory or Memory(0)
        self._kept: list[np.ndarray | None] = [None] * len(split)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which decodes by itself: without what is in memory."""
        return type(self), (
            self.split,
            self.shorter_side,
            None,
            self.interpolation,
            self.max_pixels,
        )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> np.ndarray:
        kept = self._kept[index]
        return self._read(index) if kept is None else kept

    def canvas(self, index: int, share: float = 0.5) -> np.ndarray:
        """resize.crop(images[index], shorter_side, share)."""
        if self._kept[index] is None and self._memory.full:
            return self.split.read(index, *self._how, share)
        return crop(self[index], self.shorter_side, share)

    @property
    def _how(self) -> tuple[int, str, int]:
        return self.shorter_side, self.interpolation, self.max_pixels

    @property
    def in_memory(self) -> bool:
        """Whether no image needs the disk any more."""
        return all(kept is not None for kept in self._kept)

    def forget(self) -> None:
        """Lets go of what is in memory; from now on every image is decoded when asked for."""
        self._memory = Memory(0)
        self._kept = [None] * len(self)

    def _read(self, index: int) -> np.ndarray:
        image = self.split.read(index, *self._how)
        if not self._memory.full:
            if self._memory.take(image.nbytes):
                self._kept[index] = image
            else:
                self._memory.close()
        return image

    def _digest(self, index: int) -> str:
        """What a look at an image is remembered by."""
        return _digest(f"{self.split.identity[index]} of {self.max_pixels}")

    def select(self, indices: np.ndarray) -> "Images":
        """The images at `indices`, with what is already held of them."""
        split = self.split.select(indices)
        how = (self.shorter_side, self._memory, self.interpolation, self.max_pixels)
        chosen = Images(split, *how)
        chosen._kept = [self._kept[i] for i in indices]
        return chosen


def load_images(
    dataset: Dataset,
    shorter_side: int,
    *,
    interpolation: str = "bilinear",
    max_pixels: int = MAX_PIXELS,
    skip_bad: bool = False,
    memory_bytes: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    workers: int | None = None,
    advice: str = GO_ON,
) -> tuple[Dataset, Images, Images]:
    """Decodes every image once, reports all bad ones together, and keeps what fits in memory.

    With several processes each decodes its share, and all report what any of them found.

    Args:
      dataset: what sources.open_dataset returned.
      shorter_side: pixels; batches.canvas_size(image_size).
      interpolation: what it is resized by, one of resize.FILTERS.
      max_pixels: larger images are refused by their header, as unreadable.
      skip_bad: go on without the unreadable images, with a warning that lists them.
      memory_bytes: for both splits; None: `spare_memory_bytes()`.
      cache_dir: remembers there, by path, size and time of change, which files were seen whole,
        so that what does not fit in memory is not decoded again merely for this check.
      progress: called with (done, total) images, from this thread.
      warn: called with the warning; None: printed to stderr.
      workers: decoding threads; None: one for each core.
      advice: what to do about unreadable images, for the error.

    Returns:
      The data set (without the skipped images), and the images of train and of valid.

    Raises:
      UserError: listing every unreadable image; or every class that skipping emptied.
    """
    memory = Memory(spare_memory_bytes() if memory_bytes is None else memory_bytes)
    train = Images(dataset.train, shorter_side, memory, interpolation, max_pixels)
    valid = Images(dataset.valid, shorter_side, memory, interpolation, max_pixels)
    bad = hosts.together(lambda: _read_all([train, valid], cache_dir, progress, workers))
    bad = _of_all_hosts(bad)
    if not any(bad):
        return dataset, train, valid
    _report(bad, skip_bad, warn, advice)
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
    """By split: index -> why it can't be read."""
    whole = _recall(cache_dir)
    jobs = [(which, index) for which, images in enumerate(splits) for index in range(len(images))]
    jobs = jobs[hosts.index() :: hosts.count()]
    bad: list[dict[int, UnreadableImage]] = [{} for _ in splits]
    seen = []

    def read(job: tuple[int, int]) -> UnreadableImage | None:
        images, index = splits[job[0]], job[1]
        if images._memory.full and images._digest(index) in whole:
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
                        seen.append(splits[which]._digest(index))
                    else:
                        bad[which][index] = error
                    if progress:
                        progress(done, len(jobs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            _remember(cache_dir, [digest for digest in seen if digest not in whole])
    return bad


def _of_all_hosts(bad: list[dict[int, UnreadableImage]]) -> list[dict[int, UnreadableImage]]:
    """What any host found, in all of them."""
    if hosts.count() == 1:
        return bad
    mine = [[[index, e.name, e.reason] for index, e in failed.items()] for failed in bad]
    found = hosts.gather(mine)
    return [
        {i: UnreadableImage(name, why) for row in found for i, name, why in row[which]}
        for which in range(len(bad))
    ]


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:32]


def _recall(cache_dir: str | os.PathLike[str] | None) -> set[str]:
    if cache_dir is None:
        return set()
    place = paths.of(cache_dir) / REMEMBERED
    try:
        files = place.iterdir() if paths.is_remote(place) else (place,)
        return {line for file in files for line in paths.read(file).decode().split("\n")}
    except OSError:
        return set()


def _remember(cache_dir: str | os.PathLike[str] | None, digests: list[str]) -> None:
    """Appends; a line cut short by a crash, or a full disk, costs a second look at one file.

    An object can't be appended to, so in a bucket every call adds one, named by its content.
    """
    if cache_dir is None or not digests:
        return
    place, lines = paths.of(cache_dir) / REMEMBERED, "\n" + "\n".join(digests) + "\n"
    with suppress(OSError):
        if paths.is_remote(place):
            paths.write(place / _digest(lines), lambda file: file.write(lines.encode()))
            return
        paths.make_folder(place.parent)
        with open(place, "a") as file:
            file.write(lines)


def _report(
    bad: Iterable[dict[int, UnreadableImage]],
    skip_bad: bool,
    warn: Callable[[str], None] | None,
    advice: str,
) -> None:
    lines = sorted(f"{error.name}: {error.reason}" for failed in bad for error in failed.values())
    count = f"{len(lines)} unreadable image{'s' if len(lines) > 1 else ''}"
    if not skip_bad:
        raise UserError(f"{count}:", lines, advice)
    message = "\n".join([f"warning: {count} skipped:", *(f"  - {line}" for line in lines)])
    if warn:
        warn(message)
    else:
        print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)


def _check_classes_remain(before: Dataset, after: Dataset) -> None:
    """Fails where skipping left a class of a split without images."""
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
        raise UserError("classes that have no image left without the unreadable ones:", emptied)
