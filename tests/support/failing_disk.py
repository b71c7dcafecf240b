"""A run in which one operation on the disk fails, for each operation in turn."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import forks
from places import SUPPORT

KINDS = ("a full disk", "EIO", "a kill")
VARIABLE = "FAILING_DISK"  # the library, once this process has begun with it
TOLD = "FAILING_DISK_TOLD"
MISTAKE, KILLED = 2, -9
FEWER = "none, as the run had fewer"
RETOLD = ("Traceback", "this is a bug")


class Place(NamedTuple):
    """An operation that failed, how the run ended, and what was wrong with that."""

    number: int
    kind: str
    operation: str
    code: int
    problems: list[str]


def begin_again_with_it(folder: Path) -> None:
    """Compile the library, and begin this process again with it in place; return the second time.

    Raises:
      CalledProcessError: the compiler refuses it.
    """
    if VARIABLE in os.environ:
        return
    library = folder / "failing_disk.so"
    flags = ["-shared", "-fPIC", "-O1", "-o", str(library)]
    subprocess.run(["cc", *flags, str(SUPPORT / "failing_disk.c"), "-ldl"], check=True)
    os.environ |= {VARIABLE: str(library), "LD_PRELOAD": str(library)}
    os.execv(sys.executable, [sys.executable, *sys.argv])


def count(folder: Path, images: Path) -> int:
    """Run once without a failure, which every end is compared with; return its operations."""
    warm(folder, images)
    counts = folder / "count.txt"
    code = trial(folder, "untouched", images, 0, 0, counts)
    assert code == 0, (folder / "err.txt").read_text()
    return int(counts.read_text())


def warm(folder: Path, images: Path) -> None:
    """Compile all programs into a cache that every trial begins with a copy of."""
    start = forks.begin(words(folder / "first", images), folder, folder / "warm")
    assert start.wait() == 0, start.err.read_text()
    shutil.rmtree(folder / "warm" / "jaxft" / "features")
    shutil.rmtree(folder / "first")


def fail(folder: Path, images: Path, numbers: Iterable[int], first: int = 0) -> list[Place]:
    """Let each of these operations fail in a run of its own, by the kinds in turn."""
    return [fail_one(folder, images, number, (number + first) % len(KINDS)) for number in numbers]


def fail_one(folder: Path, images: Path, number: int, kind: int) -> Place:
    """Let one operation fail, then run again; look at what was told, and at the end."""
    code = trial(folder, "trial", images, number, kind)
    said = (folder / "err.txt").read_text()
    operation = (folder / "told.txt").read_text() if (folder / "told.txt").exists() else ""
    problems = []
    if code not in (0, MISTAKE, KILLED) or any(word in said for word in RETOLD):
        problems.append(f"it ended with {code} and said {said}")
    again = trial(folder, "trial", images, 0, 0, anew=False)
    if again:
        problems.append(f"again: {again}, {(folder / 'err.txt').read_text()}")
    elif not forks.same_end(folder / "trial" / "run", folder / "untouched" / "run"):
        problems.append("the end differs")
    return Place(number, KINDS[kind], operation.strip(), code, problems)


def trial(
    folder: Path,
    name: str,
    images: Path,
    number: int,
    kind: int,
    counts: Path | None = None,
    anew: bool = True,
) -> int:
    """Run with an operation that fails; return the exit code."""
    place = folder / name
    if anew:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "warm", place / "cache")
        (folder / "told.txt").unlink(missing_ok=True)
    library = ctypes.CDLL(os.environ[VARIABLE])

    def first() -> None:
        os.environ[TOLD] = str(folder / "told.txt")
        library.arm(os.fsencode(place), ctypes.c_long(number), kind)

    def last() -> None:
        if counts is not None:
            library.counted.restype = ctypes.c_long
            counts.write_text(str(library.counted()))

    start = forks.begin(words(place / "run", images), folder, place / "cache", first, last)
    return start.wait()


def words(workdir: Path, images: Path) -> list[str]:
    """Return the command line of a run."""
    config = f"--config={SUPPORT / 'short_config.py'}:{images}"
    return ["train", config, f"--workdir={workdir}"]


def table(places: Iterable[Place]) -> str:
    """Return lines: how many operations of each kind failed, by how the run ended."""
    ends = {0: "ended as if nothing had happened", MISTAKE: "told it and ended with 2"}
    found = Counter(
        (place.operation.partition(" ")[0] or FEWER, ends.get(place.code, "was killed"))
        for place in places
    )
    return "\n".join(f"  {times:4} x {what}: {end}" for (what, end), times in sorted(found.items()))
