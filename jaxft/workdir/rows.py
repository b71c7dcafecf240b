"""JSON files of a workdir: documents, and tables with one row per line."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from jaxft.runtime import hosts, paths, plain_json
from jaxft.runtime.paths import AnyPath


@hosts.first_only
def write_json(path: AnyPath, data: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never half of one."""
    content = plain_json.dumps(data, indent=2) + "\n"
    paths.write(path, lambda file: file.write(content.encode()))


def read_object(path: AnyPath) -> dict[str, Any] | None:
    """Return the object that a JSON file holds; None where it is missing or damaged."""
    try:
        found = json.loads(paths.read(path))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@hosts.first_only
def append_row(path: AnyPath, row: Mapping[str, Any]) -> None:
    """Add a row to a JSON-lines file; an object of a store is rewritten."""
    if paths.is_remote(path):
        write_rows(path, [*read_rows(path), row])
        return
    with open(path, "a") as file:
        file.write(plain_json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())  # before a checkpoint counts it


def read_rows(path: AnyPath) -> list[dict[str, Any]]:
    """Return the whole rows of a JSON-lines file, without those that are cut off or damaged."""
    return _whole(_lines(path))


def _lines(path: AnyPath) -> list[bytes]:
    return paths.read(path).split(b"\n") if path.exists() else []


def _whole(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def rewind_rows(path: AnyPath, count: int) -> int:
    """Keep the first `count` rows, which precede the checkpoint that is resumed.

    Returns:
      Their number; fewer than `count` where rows were lost.
    """
    rows = _whole(_lines(path)[:count])
    write_rows(path, rows)
    return len(rows)


@hosts.first_only
def write_rows(path: AnyPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file by one of these rows."""
    content = "".join(plain_json.dumps(row) + "\n" for row in rows)
    paths.write(path, lambda file: file.write(content.encode()))
