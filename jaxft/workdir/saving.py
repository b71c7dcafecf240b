"""Saving a run's checkpoints without making it wait, and the newest intact one to go on from.

A save hands over arrays that are on the host. A thread of its own digests and writes them, one
checkpoint at a time. One more may wait meanwhile; a newer one takes its place unless a later start
could go back to it. Several processes save together instead, in one order on all of them, and so
wait for the save before.
"""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import orbax.checkpoint as ocp

from jaxft.errors import UserError
from jaxft.runtime import hosts, paths
from jaxft.runtime.digests import digest, of_json
from jaxft.workdir import room
from jaxft.workdir.checkpoint import (
    ARRAYS,
    Checkpoint,
    cursor_of,
    fault,
    holder_of,
    read,
    read_item,
)
from jaxft.workdir.retention import DEFAULT, Preserved, Retention
from jaxft.workdir.storage import told_as_os_error
from jaxft.workdir.writer import Writer


class Held(NamedTuple):
    """A best epoch by the digest of its item, and the checkpoint that has that."""

    digest: str
    step: int


def best_held(item: Mapping[str, Any], directory: paths.AnyPath) -> Held:
    """Return the best epoch of a checkpoint, given its item `cursor`, and where its arrays are."""
    return Held(item["digests"]["best"], int(holder_of(item, directory).name))


class Checkpoints:
    """The checkpoints of one workdir.

    Those stay that are asked for, and the one that a cursor's `back_to` names (retention.py).

    Args:
      workdir: of the run.
      still_held: the function that `lock` yields; called before every save.
      sealed: JSON data that every cursor holds beside the place.
      retention: what else stays.
      say: gets a line, once, where the disk may have no room for the next checkpoint.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        still_held: Callable[[], None] = lambda: None,
        sealed: Mapping[str, Any] | None = None,
        retention: Retention = DEFAULT,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax raises what it logs, too
        self.directory = paths.absolute(paths.of(workdir)) / "checkpoints"
        self._still_held = still_held
        self._sealed = dict(sealed or {})
        self._say = say
        self._warned = False
        self._writer = Writer()
        self._best: Held | None = None  # of the newest checkpoint that is whole
        self._written: tuple[int, Held] | None = None  # the one that Orbax writes, and its best
        self._proven = False
        self._preserved = Preserved(retention)
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._preserved,
                cleanup_tmp_directories=True,
            ),
        )
        for step in self._manager.all_steps():
            with suppress(Exception):  # whatever a damaged file makes Orbax raise
                directory = self.directory / str(step)
                self._preserved.best_of[step] = best_held(read_item(directory), directory).step

    @property
    def busy(self) -> bool:
        """True while a checkpoint is being written, and a save that can wait should."""
        return self._writer.busy

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in the background.

        Args:
          step: the checkpoint's name; larger than any before.
          checkpoint: arrays on the host, which do not change afterwards.

        Raises:
          OSError: an earlier checkpoint could not be written.
          UserError: another process has taken the workdir over.
        """
        self._still_held()
        if hosts.count() > 1:
            self.wait()
            self._begin(step, checkpoint)
        else:
            back_to = checkpoint.cursor.get("back_to", 0)

            def needed(waiting: int) -> bool:
                return waiting == back_to or self._preserved.retention.lasting(waiting)

            self._writer.put(step, partial(self._write, step, checkpoint), needed)

    def wait(self) -> None:
        """Wait for the saves under way, and raise their error, if any."""
        self._writer.wait()
        self._finish()

    def _write(self, step: int, checkpoint: Checkpoint) -> None:
        self._still_held()
        self._begin(step, checkpoint)
        self._finish()

    def _begin(self, step: int, checkpoint: Checkpoint) -> None:
        """Digest a checkpoint, and let Orbax begin to write what no earlier one holds."""
        digests = {name: digest(getattr(checkpoint, name)) for name in ARRAYS}
        item = {**checkpoint.cursor, "sealed": self._sealed, "digests": digests}
        arrays = {name: getattr(checkpoint, name) for name in ARRAYS}
        held = self._best
        if held is not None and held.digest == digests["best"]:
            item["best_of"] = held.step
            del arrays["best"]
        else:
            held = Held(digests["best"], step)
        self._preserved.back_to = checkpoint.cursor.get("back_to", 0)
        self._preserved.best_of[step] = held.step
        self._warn(arrays)
        items = {k: ocp.args.StandardSave(_without_empty(tree)) for k, tree in arrays.items()}
        cursor = ocp.args.JsonSave({**item, "digest": of_json(item)})
        with told_as_os_error(self.directory):
            self._manager.save(step, args=ocp.args.Composite(**items, cursor=cursor))
        self._written = step, held

    def _warn(self, arrays: Mapping[str, Any]) -> None:
        """Tell, once, where the disk may have no room for these arrays."""
        told = room.shortage(self.directory, room.size(arrays))
        if told and not self._warned:
            self._say(f"warning: {told}; make room before it is written")
            self._warned = True

    def _finish(self) -> None:
        """Wait for Orbax, and raise its error, if any; read a start's first checkpoint back."""
        written, self._written = self._written, None
        with told_as_os_error(self.directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        if written is not None:
            step, self._best = written
            if not self._proven:
                hosts.together(lambda: self._prove(step))
            self._proven = True

    def _prove(self, step: int) -> None:
        """Raise UserError where a checkpoint does not read back as it was written."""
        try:
            read(self.directory / str(step))
        except Exception as error:  # whatever a damaged file makes Orbax raise
            raise UserError(
                f"What is saved in {self.directory} does not read back as it was written:",
                [fault(step, error)],
                "The run ends here, before more is lost. Give a --workdir on another disk.",
            ) from error

    def newest(
        self, wanted: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest whole checkpoint whose cursor is wanted, and the faults of newer ones.

        Raises:
          UserError: as `wanted` does.
        """
        problems: list[str] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            directory = self.directory / str(step)
            try:
                item = read_item(directory)
                if wanted(cursor_of(item)):
                    found = read(directory, item)
                    self._best = best_held(item, directory)
                    return found, problems
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes Orbax raise
                problems.append(fault(step, error))
        return None, problems

    def cursor(self, step: int) -> dict[str, Any]:
        """Return the cursor of one checkpoint; errors of Orbax where it is missing or damaged."""
        return cursor_of(read_item(self.directory / str(step)))

    def remove_after(self, step: int) -> None:
        """Forget checkpoints newer than `step`, so that their numbers can be used again."""
        for newer in [s for s in self._manager.all_steps() if s > step]:
            self._manager.delete(newer)
        if self._best is not None and self._best.step > step:
            self._best = None

    def close(self) -> None:
        """Wait for the saves under way and let go of the directory."""
        self.wait()
        self._writer.close()
        self._manager.close()


def _without_empty(tree: Any) -> Any:
    """Return the tree without empty dicts, which Orbax would restore as nothing."""
    if not isinstance(tree, dict):
        return tree
    kept = {key: _without_empty(value) for key, value in tree.items()}
    return {
        key: value for key, value in kept.items() if not (isinstance(value, dict) and not value)
    }
