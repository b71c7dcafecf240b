"""Checkpoints as files: their form, reading the newest intact one, locking the workdir.

A checkpoint is a directory `checkpoints/STEP` with three items: `state` (all parameters and
statistics, the optimizer state, the weights' average if there is one, the step), `best`
(parameters, statistics and per-example validation losses of the run's best epoch) and `cursor`
(JSON: the place that the run has reached). Plain Orbax opens each. Where `best` is as it was, only
the first checkpoint with it has that item, and `best_of` in the cursors of the others names it
(workdir/retention.py). Array files carry no checksum of their own, so `cursor` holds a digest of
every item, itself included, and a checkpoint whose digest does not match is skipped for the one
before. It also holds what decides the run's numbers elsewhere in the workdir (workdir/seal.py).
"""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxft.errors import UserError, printable
from jaxft.runtime import hosts, paths
from jaxft.runtime.digests import digest, flat, of_json
from jaxft.workdir import lease

ARRAYS = ("state", "best")
BESIDE = ("digests", "sealed", "best_of")  # what the item `cursor` holds beside the place
SEALED_SINCE = 3  # the version of cursors that hold a digest of themselves
REASON_LENGTH = 200  # characters
PATTERNS = ("[", "**", "\\")  # of etils.epath's glob, by Python or TensorFlow


class Checkpoint(NamedTuple):
    """`state` and `best` are nested dicts of NumPy arrays, `cursor` is JSON data."""

    state: dict[str, Any]
    best: dict[str, Any]
    cursor: dict[str, Any]


def demand_place(workdir: str | os.PathLike[str]) -> None:
    """Raise UserError if Orbax would read a workdir's path as a pattern, and lose checkpoints.

    It merges the files of all processes by a glob over the whole path.
    """
    place = str(paths.absolute(paths.of(workdir)))
    found = [part for part in PATTERNS if part in place]
    if found:
        raise UserError(
            f"No checkpoint can be kept in {place}:",
            [f"{part} in a path is read as a pattern" for part in found],
            "Give another --workdir, or rename the folder.",
        )


def read(directory: paths.AnyPath, item: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read one checkpoint and check its digests.

    Args:
      directory: `checkpoints/STEP`.
      item: what `read_item` returns, where it has been read already.

    Raises:
      ValueError: an item's digest does not match.
      Other errors of Orbax: files are missing or cannot be parsed.
    """
    item = item or read_item(directory)
    places = {"state": directory / "state", "best": holder_of(item, directory) / "best"}
    items = {}
    with ocp.StandardCheckpointer() as arrays:
        for name in ARRAYS:
            items[name] = jax.tree.map(np.asarray, arrays.restore(places[name]))
            if digest(items[name]) != item["digests"][name]:
                raise ValueError(f"the digest of {name} does not match its contents")
    return Checkpoint(items["state"], items["best"], cursor_of(item))


def holder_of(item: Mapping[str, Any], directory: paths.AnyPath) -> paths.AnyPath:
    """Return the checkpoint that has the `best` of one, given that one's item `cursor`."""
    return directory.parent / str(item.get("best_of", directory.name))


def steps(workdir: str | os.PathLike[str]) -> list[int]:
    """Return the numbers of a workdir's checkpoints, whole or not, oldest first."""
    directory = paths.of(workdir) / "checkpoints"
    names = [p.name for p in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal() and name.isascii())


def read_newest(workdir: str | os.PathLike[str]) -> Checkpoint:
    """Return the newest whole checkpoint of a workdir, without opening it for writing.

    A warning on stderr tells of newer ones that are damaged.

    Raises:
      UserError: there is none; lists the faults of all checkpoints.
    """
    problems = []
    for step in reversed(steps(workdir)):
        try:
            found = read(paths.absolute(paths.of(workdir)) / "checkpoints" / str(step))
        except Exception as error:  # whatever a damaged file makes Orbax raise
            problems.append(fault(step, error))
        else:
            if problems and hosts.is_first():
                told = f"warning: {'; '.join(problems)}; taking checkpoint {step} of {workdir}"
                print(printable(told), file=sys.stderr)
            return found
    raise UserError(
        f"{workdir} holds no checkpoint to restore", problems, "It should be a run's workdir."
    )


def fault(step: int, error: Exception) -> str:
    """Say that a checkpoint is damaged, with the first line of an error, or its kind.

    TensorStore's messages take up to a kilobyte, with the action first and the cause last.
    """
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    half = REASON_LENGTH // 2
    short = line if len(line) <= REASON_LENGTH else f"{line[:half]} ... {line[-half:]}"
    return f"checkpoint {step} is damaged: {short}"


def newest_cursor(workdir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the cursor of the newest checkpoint, whole or not; None if none can be read."""
    item = _newest_item(workdir)
    return None if item is None else cursor_of(item)


def sealed(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the newest cursor of a workdir holds beside the place; {} where there is none."""
    found: dict[str, Any] = (_newest_item(workdir) or {}).get("sealed", {})
    return found


def _newest_item(workdir: str | os.PathLike[str]) -> dict[str, Any] | None:
    for step in reversed(steps(workdir)):
        directory = paths.absolute(paths.of(workdir)) / "checkpoints" / str(step)
        with suppress(Exception):  # whatever a damaged file makes Orbax raise
            return read_item(directory)
    return None


def cursor_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an item `cursor` holds of the place that the run has reached."""
    return {key: value for key, value in item.items() if key not in BESIDE}


def read_item(directory: paths.AnyPath) -> dict[str, Any]:
    """Read the item `cursor` of a checkpoint: the cursor, what it holds beside, the digests.

    One process may call it alone: the handler reads a file, and a Checkpointer would wait for all.

    Raises:
      ValueError: its digest does not match its contents.
      Other errors of Orbax: it is missing, or cannot be parsed.
    """
    item = dict(ocp.JsonCheckpointHandler().restore(epath.Path(directory / "cursor")))
    told = item.pop("digest", None)
    unsealed = told is None and item.get("version", 1) < SEALED_SINCE
    if not unsealed and told != of_json(item):
        raise ValueError("the digest of cursor does not match its contents")
    return item


def fill(like: Any, leaves: Mapping[str, Any]) -> Any:
    """Return a tree of the structure of `like` with the leaves of `flat`.

    Raises:
      ValueError: lists every missing, unexpected or misshapen leaf.
    """
    wanted = flat(like)
    problems = [f"{name} is missing" for name in wanted if name not in leaves]
    problems += [f"{name} is unexpected" for name in leaves if name not in wanted]
    problems += [
        f"{name} is {np.shape(leaves[name])} {leaves[name].dtype}, not {leaf.shape} {leaf.dtype}"
        for name, leaf in wanted.items()
        if name in leaves
        and (np.shape(leaves[name]) != leaf.shape or leaves[name].dtype != leaf.dtype)
    ]
    if problems:
        raise ValueError("; ".join(problems))
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in wanted])


@contextmanager
def lock(
    workdir: str | os.PathLike[str], say: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[], None]]:
    """Hold a workdir, so that no second run writes to it; the first of several processes does.

    On a disk this is a lock on the file `.lock`, which ends with the process. In a bucket it is a
    lease, for which it may have to wait: `say` gets a line about that.

    Yields:
      A function that raises UserError if the workdir is no longer held.

    Raises:
      UserError: another run holds it.
    """
    place = paths.of(workdir)
    if not hosts.is_first():
        yield lambda: None
    elif paths.is_remote(place):
        with lease.hold(place, say) as held:
            yield held.demand
    else:
        with _file_lock(place):
            yield lambda: None


@contextmanager
def _file_lock(workdir: paths.AnyPath) -> Iterator[None]:
    with open(workdir / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"Another process is running in {workdir}",
                hint="Wait for it to end, or choose another --workdir.",
            ) from None
        yield
