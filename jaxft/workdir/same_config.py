"""Check that a run is resumed with its own config, except for keys that change nothing."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from jaxft.config.plain import as_dict
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint, cursor

# Keys that change neither the numbers of a run nor what its files mean.
FREE_KEYS = (
    "cache_dir",
    "checkpoint_minutes",
    "track",
    "drift_images",
    "data.memory_gb",
    "data.cache_memory_gb",
    "data.threads",
    "data.workers",
    "plan.examples",
    "plan.valid_examples",
    "plan.classes",
)
# Nor this one, in a phase whose first step is yet to come.
FREE_BEFOREHAND = re.compile(r"phases\[(\d+)\]\.microbatches")
# Keys that came later and change nothing by default: runs without them did what their defaults do.
LATER_KEYS = ("average_cycles", "data.fit")


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
    changed = differences(with_free_keys(read_json(workdir / "config.json")), plain)
    begun = _phases_begun(workdir) if any(map(FREE_BEFOREHAND.fullmatch, changed)) else 0
    return {key: line for key, line in changed.items() if not _is_free(key, begun)}


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


def differences(saved: Any, plain: Any) -> dict[str, str]:
    """Return the keys whose values differ in two configs as JSON data, each with a line on it."""
    before, now = _flat(saved), _flat(json.loads(json.dumps(plain)))
    return {
        key: f"{key}: {before.get(key, 'absent')!r} there, {now.get(key, 'absent')!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }


def with_free_keys(plain: Any) -> Any:
    """Add the FREE_KEYS and LATER_KEYS that a run's config lacks, at their defaults.

    What is no config, or a section that is none, stays as it is, for others to report.
    """
    return _filled(plain, as_dict(base.get_config()))


def _filled(plain: Any, usual: Any, path: str = "") -> Any:
    if not isinstance(plain, dict) or not isinstance(usual, dict):
        return plain
    added = (*FREE_KEYS, *LATER_KEYS)
    missing = {key: value for key, value in usual.items() if f"{path}{key}" in added}
    inside = {key: _filled(plain[key], usual.get(key), f"{path}{key}.") for key in plain}
    return {**missing, **inside}


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


def read_json(path: AnyPath) -> Any:
    """Read a JSON file of a workdir; raise UserError if it is missing or damaged."""
    try:
        return json.loads(paths.read(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    """Nested JSON data as key path -> value."""
    if isinstance(data, dict):
        pairs = [(f"{path}.{key}" if path else key, value) for key, value in data.items()]
    elif isinstance(data, list):
        pairs = [(f"{path}[{index}]", value) for index, value in enumerate(data)]
    else:
        return {path: data}
    return {key: leaf for name, value in pairs for key, leaf in _flat(value, name).items()}
