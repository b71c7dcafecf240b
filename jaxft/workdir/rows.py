"""JSON files of a workdir: documents, and tables with one row per line."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath


@hosts.first_only
def write_json(path: AnyPath, data: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never half of one."""
    content = json.dumps(data, indent=2) + "\n"
    paths.write(path, lambda file: file.write(content.encode()))


def read_object(path: AnyPath) -> dict[str, Any] | None:
    """Return what a JSON file holds; None where it is missing or no JSON."""
    try:
        found: dict[str, Any] = json.loads(paths.read(path))
    except (OSError, ValueError):
        return None
    return found


@hosts.first_only
def append_row(path: AnyPath, row: Mapping[str, Any]) -> None:
    """Add a row to a JSON-lines file; an object of a store is rewritten."""
    if paths.is_remote(path):
        write_rows(path, [*read_rows(path), row])
        return
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path: AnyPath) -> list[dict[str, Any]]:
    """Return the whole rows of a JSON-lines file, without a last line that was cut off."""
    if not path.exists():
        return []
    rows = []
    for line in paths.read(path).decode().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def rewind_rows(path: AnyPath, count: int) -> None:
    """Keep the first `count` rows, which precede the checkpoint that is resumed."""
    write_rows(path, read_rows(path)[:count])


@hosts.first_only
def write_rows(path: AnyPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file by one of these rows."""
    content = "".join(json.dumps(row) + "\n" for row in rows)
    paths.write(path, lambda file: file.write(content.encode()))
