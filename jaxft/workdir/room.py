"""Room on the disk of a workdir, and files that killed writers have left there and in the cache."""

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxft.errors import UserError
from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.sizes import in_words

# What has not changed for so long is no file that a process still writes. Next to the run only
# verbs such as `evaluate` write in a workdir, but any number of processes in the cache.
IN_WORKDIR, IN_CACHE = 60.0, 86400.0  # seconds


def size(tree: Any) -> int:
    """Return the bytes of all arrays of a tree."""
    return sum(np.dtype(leaf.dtype).itemsize * int(np.size(leaf)) for leaf in jax.tree.leaves(tree))


def free(place: AnyPath) -> int | None:
    """Return the free bytes of the disk that a place is on or will be on; None where unknown."""
    if not isinstance(place, Path):
        return None
    there = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), None)
    with suppress(OSError):
        return None if there is None else shutil.disk_usage(there).free
    return None


def shortage(place: AnyPath, needed: int) -> str:
    """Say that a checkpoint may not fit on the disk of a place, "" if it does."""
    left = free(place)
    if left is None or left >= needed:
        return ""
    told = f"{in_words(left)} are free on the disk of {place}"
    return f"{told}, and a checkpoint takes {in_words(needed)}"


def demand(workdir: AnyPath, weights: Any) -> None:
    """Raise UserError where a disk has no room for one checkpoint.

    Args:
      workdir: of a run.
      weights: that it begins with; a checkpoint holds at least these, and the best ones.
    """
    if told := shortage(workdir, 2 * size(weights)):
        raise UserError(
            told,
            hint="Make room (`jaxft cache` tells what may be pruned), or give another --workdir.",
        )


@hosts.first_only
def clear(workdir: AnyPath, cache: AnyPath) -> None:
    """Remove the unfinished files of writers that were killed.

    Args:
      workdir: of a run, held by this process.
      cache: its cache, which others may be using.
    """
    for folder, seconds in ((workdir, IN_WORKDIR), (cache, IN_CACHE)):
        if isinstance(folder, Path):
            _remove(folder, seconds)


def _remove(folder: Path, seconds: float) -> None:
    for file in folder.rglob(paths.UNFINISHED):
        with suppress(OSError):  # another process was faster, or may and we may not
            if paths.is_unfinished(file) and time.time() - file.stat().st_mtime >= seconds:
                file.unlink()
