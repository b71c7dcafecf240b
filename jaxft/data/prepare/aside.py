"""The folder OUTPUT.partial, in which a data set is made."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from jaxft.data import Split
from jaxft.data.prepare.job import Form
from jaxft.data.sources import catalogue
from jaxft.errors import UserError
from jaxft.runtime import paths

# Names in it.
DATA, NOTES, PLAN, LOCK = "data", "notes", "plan.json", "lock"


@contextmanager
def held(aside: Path) -> Iterator[None]:
    """Make the folder, and keep other processes out of it.

    Raises:
      UserError: it can't be made, it holds foreign files, or another process is at work in it.
    """
    with ExitStack() as stack:
        try:
            aside.mkdir(parents=True, exist_ok=True)
            _demand_ours(aside)
            lock = os.open(aside / LOCK, os.O_WRONLY | os.O_CREAT, 0o644)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock), os.stat(aside / LOCK)):
                raise BlockingIOError  # who held it before has removed it
            for name in (DATA, NOTES):
                (aside / name).mkdir(exist_ok=True)
        except BlockingIOError:
            raise UserError(f"another process is working in {aside}") from None
        except OSError as error:
            raise UserError(f"{aside} can't be written: {error.strerror}") from None
        yield


def _demand_ours(aside: Path) -> None:
    """Raise UserError where the folder is no earlier call's, and holds anything.

    A call that was killed before it had a plan leaves folders and a lock, all empty, and perhaps a
    hidden file.
    """
    if (aside / PLAN).is_file():
        return
    foreign = [path for path in aside.iterdir() if path.name[0] != "." and not _begun(path)]
    if foreign:
        raise UserError(
            f"{aside} is needed as a working folder, but already holds:",
            [str(path) for path in sorted(foreign)],
            "Give another --output, or move them away.",
        )


def _begun(path: Path) -> bool:
    """Tell whether a path is one that a call makes first."""
    if path.is_symlink():
        return False
    if path.name == LOCK:
        return path.is_file() and not path.stat().st_size
    return path.name in (DATA, NOTES) and path.is_dir() and not any(path.iterdir())


def remove(aside: Path) -> None:
    """Remove all that calls have put there; to be killed meanwhile does no harm in this order."""
    for name in (NOTES, DATA):
        shutil.rmtree(aside / name, ignore_errors=True)
    with suppress(OSError):
        for path in (*aside.glob(f".{PLAN}.*"), aside / PLAN, aside / LOCK):
            path.unlink(missing_ok=True)
        aside.rmdir()


def clear_notes(notes: Path) -> None:
    """Remove files that a killed process had not finished."""
    for file in notes.iterdir():
        if file.suffix != ".json":
            file.unlink()


def agree(
    aside: Path, source: str, form: Form, splits: dict[str, Split], classes: Sequence[str]
) -> None:
    """Write the plan of this call, or compare it with the plan of the call that began.

    Raises:
      UserError: listing the differences.
    """
    lines = [
        line for split in splits.values() for line in (*split.identity, *map(str, split.labels))
    ]
    wanted = {**asdict(form), "source": source, "files": catalogue.digest([*classes, *lines])}
    plan = aside / PLAN
    try:
        begun = json.loads(plan.read_text())
    except FileNotFoundError:
        content = json.dumps(wanted, indent=2).encode()
        paths.write(plan, lambda file: file.write(content))
        return
    changed = [
        "the source's files have changed"
        if key == "files"
        else f"{key}: {begun.get(key)} then, {wanted[key]} now"
        for key in wanted
        if begun.get(key) != wanted[key]
    ]
    if changed:
        raise UserError(
            f"{aside} holds the unfinished output of another call:",
            changed,
            f"Give the same options to resume, or remove it to start over: rm -r '{aside}'",
        )
