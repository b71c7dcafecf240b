"""The cache directory's entries by size and age, and pruning them.

A run in progress is safe: what it has read it holds in memory, or mapped, and what has vanished
since it is computed again. Files whose names are not those of the cache are told and never removed.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxft.data.images import seen
from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.sizes import in_words
from jaxft.runtime.table import table_lines

OTHER = "other files"
# Part -> its files' names from the directory on; of one entry where the first group is the same.
PARTS = {
    "features": re.compile(r"(features/[0-9a-f]{64})\.\d{9,}\.npy"),
    "programs": re.compile(r"(xla/.+-[0-9a-f]{64})-(?:cache|atime)"),
    "images seen whole": re.compile(f"({re.escape(seen.FILE)})"),
}
UNFINISHED = "unfinished files"
DAY = 86400.0
COLUMNS = {"part": "<18", "entries": ">8", "size": ">9", "last used": ">22"}


class Entry(NamedTuple):
    """Files that are of use together only; `used` is the time of their last use, in seconds."""

    part: str
    files: tuple[Path, ...]
    size: int
    used: float

    @property
    def prunable(self) -> bool:
        """True where jaxft has written it, and nothing writes it now."""
        return self.part in PARTS or (self.part == UNFINISHED and time.time() - self.used > DAY)


def entries(directory: Path) -> list[Entry]:
    """Return what a cache directory holds, the least recently used first."""
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in sorted(directory.rglob("*")):
        if file.is_file() and not file.is_symlink():
            groups[_entry_of(file, directory)].append(file)
    found = []
    for (part, _), files in groups.items():
        told = [status for file in files if (status := _status(file))]
        if told:
            size, used = sum(size for size, _ in told), max(used for _, used in told)
            found.append(Entry(part, tuple(files), size, used))
    return sorted(found, key=lambda entry: entry.used)


def _entry_of(file: Path, directory: Path) -> tuple[str, str]:
    name = file.relative_to(directory).as_posix()
    if paths.is_unfinished(file):
        return UNFINISHED, name
    for part, pattern in PARTS.items():
        if match := pattern.fullmatch(name):
            return part, match[1]
    return OTHER, name


def _status(file: Path) -> tuple[int, float] | None:
    """Return a file's bytes and the time of its last use; None where it has vanished."""
    try:
        status = file.stat()
    except OSError:
        return None
    # Disks note the first reading of a day, or none at all.
    return status.st_size, max(status.st_mtime, status.st_atime)


def doomed(
    found: Sequence[Entry], older_than: float | None = None, max_size: int | None = None
) -> list[Entry]:
    """Return the entries to prune.

    Args:
      found: all entries, the least recently used first.
      older_than: seconds since their last use; None for no such bound.
      max_size: bytes that may stay of what is prunable; None for any number.
    """
    kept = [entry for entry in found if entry.prunable]
    now, chosen = time.time(), []
    left = sum(entry.size for entry in kept)
    for entry in kept:
        old = older_than is not None and now - entry.used > older_than
        if old or (max_size is not None and left > max_size):
            chosen.append(entry)
            left -= entry.size
    return chosen


def remove(chosen: Iterable[Entry]) -> None:
    """Remove the files of entries.

    Raises:
      UserError: lists all that cannot be removed; the others are.
    """
    problems = []
    for file in (file for entry in chosen for file in entry.files):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"{file}: {(error.strerror or str(error)).lower()}")
    if problems:
        raise UserError("These files cannot be removed:", problems)


def text(directory: Path, found: Sequence[Entry]) -> str:
    """Tell, as a table, how much each part holds, and when it was last used."""
    rows = []
    for part in (*PARTS, UNFINISHED, OTHER):
        ours = [entry for entry in found if entry.part == part]
        if ours:
            size = in_words(sum(entry.size for entry in ours))
            rows.append((part, f"{len(ours):,}", size, _ages(ours)))
    total = in_words(sum(entry.size for entry in found))
    lines = table_lines(COLUMNS, [*rows, ("in all", f"{len(found):,}", total, "")])
    return "\n".join((str(directory), *(line.rstrip() for line in lines)))


def _ages(found: Sequence[Entry]) -> str:
    newest, oldest = (age(time.time() - used) for used in (found[-1].used, found[0].used))
    return f"{newest} ago" if newest == oldest else f"{newest} to {oldest} ago"


def age(seconds: float) -> str:
    """Return a time as people say it: `5 min`, `3 h`, `40 d`."""
    if seconds < 3600:
        return f"{max(seconds, 0) / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < DAY else f"{seconds / DAY:.0f} d"
