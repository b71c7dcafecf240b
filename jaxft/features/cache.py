"""The feature cache: the frozen body's output for every example, content-addressed on disk.

An entry is one view of all examples. Its key covers everything that its numbers depend on: the
body's weights, the preprocessing and the view, the ordered examples with their labels, the dtype.
If one changes, so does the entry.

An entry consists of parts of consecutive examples, each written once it is computed, so an
extraction that was killed resumes from its last whole part. One that is told to stop ends with a
shorter part, and repeats nothing.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxft.data import Split
from jaxft.runtime import array_files, digests, hosts
from jaxft.runtime.paths import AnyPath

VERSION = 3  # of what the views compute, and of the files; a change here makes all entries stale
PART_EXAMPLES = 4096
MOST_PARTS = 64  # of an entry: one that is mapped holds a file open

Part = Float[np.ndarray, "_ features"]  # the last of an entry may have fewer rows


def key(split: Split, weights_digest: str, description: dict[str, Any]) -> str:
    """The name of a cache entry.

    Args:
      split: whose identity lines and labels count, in order.
      weights_digest: of the body's parameters and statistics, as from `weights_digest`.
      description: everything else that matters (model, preprocessing, image size, view, dtype), as
        JSON data.
    """
    total = hashlib.sha256()
    total.update(json.dumps([VERSION, weights_digest, description], sort_keys=True).encode())
    for line, label in zip(split.identity, split.labels, strict=True):
        total.update(f"\n{label} {line}".encode(errors="surrogateescape"))
    return total.hexdigest()


def weights_digest(params: dict[str, Any], batch_stats: dict[str, Any]) -> str:
    """Digest of the body's groups; the head has no part in the features."""
    body = {
        kind: {group: tree[group] for group in tree if group != "head"}
        for kind, tree in (("params", params), ("batch_stats", batch_stats))
    }
    return digests.digest(body)


def part_examples(examples: int, batch_size: int) -> int:
    """Number of examples in a part of an entry: whole batches, so that resuming changes none."""
    wanted = max(PART_EXAMPLES, -(-examples // MOST_PARTS))
    return -(-wanted // batch_size) * batch_size


def cached(
    directory: AnyPath,
    name: str,
    examples: int,
    compute: Callable[[int], Iterator[Part]],
    mapped: bool = False,
) -> tuple[list[Part], int]:
    """Return the parts of entry `name`; missing or damaged ones are computed and stored.

    A part is an .npy file followed by its digest; a reader never sees half of one, and runs that
    compute the same entry at the same time write the same numbers. With several processes the
    first one's directory counts, and all get its content. A directory that cannot be written
    costs the cache, not the run.

    Args:
      directory: of the entries; created if missing.
      name: as from `key`.
      examples: their total number.
      compute: yields the rows from a first example on, part by part.
      mapped: leave the rows in files that are mapped into memory.

    Returns:
      (parts, number of their examples that came from the cache).
    """
    parts: list[Part] = []
    rows = 0
    while rows < examples:
        file = _file(directory, name, rows)
        part = hosts.from_first(_load(file, examples - rows) if hosts.is_first() else None)
        if part is None:
            break
        parts.append(_mapped(part, file) if mapped else part)
        rows += len(part)
    found = rows
    for part in compute(rows) if rows < examples else ():
        file = _file(directory, name, rows)
        with suppress(OSError):
            _store(file, part)
        parts.append(_mapped(part, file) if mapped else part)
        rows += len(part)
    return parts, found


def whole(parts: Sequence[Part]) -> Float[np.ndarray, "examples features"]:
    """All rows as one array."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Rows:
    """Rows in parts, in memory or in mapped files, that can be read in any order."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows features"]:
        """The rows of these numbers, in their order."""
        taken = np.empty((len(numbers), *self._parts[0].shape[1:]), self._parts[0].dtype)
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        for index in np.unique(which):
            here = which == index
            taken[here] = self._parts[index][numbers[here] - self._starts[index]]
        return taken


def _file(directory: AnyPath, name: str, first: int) -> AnyPath:
    """The file of the part that begins with example `first`."""
    return directory / f"{name}.{first:09}.npy"


def _load(file: AnyPath, most: int) -> Part | None:
    """A part, if it exists, is whole, and has no more rows than requested."""
    part = array_files.load(file)
    return part if part is not None and part.ndim and 0 < len(part) <= most else None


@hosts.first_only
def _store(file: AnyPath, part: Part) -> None:
    array_files.store(file, part)


def _mapped(part: Part, file: AnyPath) -> Part:
    """The part mapped from its file, so that its memory can be reclaimed at any time.

    The file is a nameless one if the part has none on a disk of this process.
    """
    if hosts.is_first() and isinstance(file, Path):
        with suppress(OSError, ValueError):
            mapped: Part = np.load(file, mmap_mode="r")
            return mapped
    with tempfile.TemporaryFile() as aside:
        part.tofile(aside)
        aside.flush()
        return np.memmap(aside, part.dtype, "r", shape=part.shape)
