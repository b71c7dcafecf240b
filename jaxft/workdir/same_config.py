"""Check that a run is resumed with its own config, except for keys that change nothing."""

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from jaxft.errors import UserError
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint, cursor, seal
from jaxft.workdir.config_keys import FREE_BEFOREHAND, FREE_KEYS, differences, with_free_keys
from jaxft.workdir.rows import read_json


def check(workdir: AnyPath, plain: dict[str, Any]) -> None:
    """Raise UserError if the workdir is a file, or holds checkpoints of another config."""
    if differing := changes(workdir, plain):
        refuse(workdir, differing)


def changes(workdir: AnyPath, plain: dict[str, Any]) -> dict[str, str]:
    """Return the keys that differ from the config of a workdir's run and matter, with a line each.

    There are none where the workdir has no checkpoint yet.

    Raises:
      UserError: the workdir is a file, or its config cannot be read.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file; --workdir should be a directory")
    if not checkpoint.steps(workdir):
        return {}
    changed = differences(saved(workdir), plain)
    begun = _phases_begun(workdir) if any(map(FREE_BEFOREHAND.fullmatch, changed)) else 0
    return {key: line for key, line in changed.items() if not _is_free(key, begun)}


def saved(workdir: AnyPath) -> Any:
    """Return the config of a workdir's run as JSON data, with the keys that came later.

    Where its file is not as the run has it, a checkpoint's is taken.

    Raises:
      UserError: there is neither.
    """
    sealed = seal.broken(workdir).get(seal.CONFIG)
    return with_free_keys(sealed.data if sealed else read_json(workdir / seal.CONFIG))


def refuse(workdir: AnyPath, differing: Mapping[str, str]) -> NoReturn:
    """Raise UserError, which tells what differs and what to do."""
    hint = "Choose another --workdir, or give the same config to resume that run."
    if any(key == "data.batch_size" or FREE_BEFOREHAND.fullmatch(key) for key in differing):
        hint += (
            " Another batch_size or other microbatches change BatchNorm's statistics, and so the "
            f"numbers; --config.init_from={workdir} starts another run from these weights."
        )
    raise UserError(
        f"{workdir} holds a run of another config:",
        differing.values(),
        hint,
    )


def _is_free(key: str, begun: int) -> bool:
    """Tell if a key may change in a run with `begun` phases without changing its results.

    The results are then those of a run that had the new value from the start.
    """
    beforehand = FREE_BEFOREHAND.fullmatch(key)
    return key in FREE_KEYS or (beforehand is not None and int(beforehand[1]) >= begun)


def _phases_begun(workdir: AnyPath) -> int:
    """Number of phases of a run that have begun; all of them if no checkpoint can be read."""
    reached = cursor.newest(workdir)
    return reached.phases_begun if reached else sys.maxsize
