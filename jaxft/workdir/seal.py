"""What decides a run's numbers beside its checkpoints, sealed in each of them.

A workdir's files state the run's classes, the preprocessing of its images, its config and the
weights that it began with. A damaged or edited one would give other numbers without a word, so
every cursor holds a copy of them all, under its own digest.
"""

import json
from typing import Any, NamedTuple

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint
from jaxft.workdir.config_keys import differences, may_change, with_free_keys

CLASSES, CONFIG, WEIGHTS = "classes.json", "config.json", "weights.json"


class Sealed(NamedTuple):
    """The content of a file when the run began, and a line on each difference since."""

    data: Any
    lines: list[str]


def broken(workdir: AnyPath) -> dict[str, Sealed]:
    """Return the files of a workdir that are not as its newest checkpoint has them, by name.

    Changes of config with which a run goes on are none. There are none where no checkpoint can be
    read, or an earlier version of jaxft wrote it.
    """
    every = {
        name: Sealed(data, _differences(workdir, name, data))
        for name, data in checkpoint.sealed(workdir).items()
    }
    return {name: one for name, one in every.items() if one.lines}


def demand(workdir: AnyPath) -> None:
    """Raise UserError if files of a workdir were changed since the run began; it lists how."""
    if found := broken(workdir):
        raise UserError(
            f"Files in {workdir} were changed since the run began:",
            [line for one in found.values() for line in one.lines],
            "Put back what was there. `jaxft train` with the run's config does that, too.",
        )


def began(workdir: AnyPath, name: str) -> Any:
    """Return what a file held when a workdir's run began; None where no checkpoint has it."""
    return checkpoint.sealed(workdir).get(name)


def _differences(workdir: AnyPath, name: str, data: Any) -> list[str]:
    try:
        found = json.loads(paths.read(workdir / name))
    except FileNotFoundError:
        return [f"{name} is missing"]
    except (OSError, ValueError, RecursionError) as error:
        return [f"{name} cannot be read: {error}"]
    if type(found) is not type(data):
        return [f"{name} holds something else than a run's"]
    if name != CONFIG:
        return [f"{name} {line}" for line in differences(data, found, "then").values()]
    changed = differences(with_free_keys(data), with_free_keys(found), "then")
    return [f"{name} {line}" for key, line in changed.items() if not may_change(key)]
