"""JSON files of a workdir: documents, and tables with one row per line.

Those that jaxft reads back hold a digest of their contents, and a damaged one counts as missing.
The rows of metrics.jsonl have none: every checkpoint holds them (workdir/history.py).
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from jaxft.errors import UserError
from jaxft.runtime import hosts, paths, plain_json
from jaxft.runtime.digests import of_json
from jaxft.runtime.paths import AnyPath

DIGEST = "contents_sha256"  # of an object's other keys, sorted
WAY_OUT = (
    "Put it back from a copy, or begin another run from this one's weights: "
    "jaxft train --from=DIR with another --workdir."
)


@hosts.first_only
def write_json(path: AnyPath, data: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never half of one."""
    content = plain_json.dumps(data, indent=2) + "\n"
    paths.write(path, lambda file: file.write(content.encode()))


def write_document(path: AnyPath, data: Mapping[str, Any]) -> None:
    """Write a JSON object that is read back: as `write_json`, with a digest of the rest in it."""
    write_json(path, sealed(data))


def read_object(path: AnyPath) -> dict[str, Any] | None:
    """Return the object that a JSON file holds; None where it is missing or damaged."""
    try:
        return parse(paths.read(path))
    except (OSError, ValueError, RecursionError):
        return None


def read_json(path: AnyPath) -> Any:
    """Read a JSON file of a workdir; raise UserError if it is missing or damaged."""
    try:
        content = paths.read(path)
        found = json.loads(content)
        return parse(content) if isinstance(found, dict) else found
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}", hint=WAY_OUT) from error


def parse(content: bytes | str) -> dict[str, Any]:
    """Return the object that a JSON text holds, without its digest if it has one.

    Raises:
      ValueError or RecursionError: it holds none, or its digest does not match.
    """
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    if found.pop(DIGEST, None) not in (None, of_json(found)):
        raise ValueError("its contents do not match their digest")
    return found


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON data with a digest of the rest as the last key."""
    plain = json.loads(plain_json.dumps(data))
    return {**plain, DIGEST: of_json(plain)}


@hosts.first_only
def append_row(path: AnyPath, row: Mapping[str, Any]) -> None:
    """Add a row to a JSON-lines file; an object of a store is rewritten."""
    if paths.is_remote(path):
        write_rows(path, [*read_rows(path), row])
        return
    with paths.naming(path), open(path, "a") as file:
        file.write(plain_json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())  # before a checkpoint counts it


def read_rows(path: AnyPath, after: int = 0) -> list[dict[str, Any]]:
    """Return the whole rows of a JSON-lines file, without those that are cut off or damaged.

    Args:
      path: of the file, which may be missing.
      after: lines at the beginning that are passed over.
    """
    return _whole(_lines(path)[after:])


def _lines(path: AnyPath) -> list[bytes]:
    return paths.read(path).split(b"\n") if path.exists() else []


def _whole(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            rows.append(parse(line))
    return rows


def rewind_rows(path: AnyPath, count: int, table: Sequence[Mapping[str, Any]] = ()) -> int:
    """Keep the first `count` rows, which precede the checkpoint that is resumed.

    Args:
      path: of a JSON-lines file.
      count: rows that the checkpoint counts.
      table: those rows as the checkpoint holds them; an older one holds none, or some.

    Returns:
      The number of those that the file no longer has. They are written again where `table` is
      whole.
    """
    found = _whole(_lines(path)[:count])
    left = [plain_json.dumps(row) for row in found]
    whole = len(table) == count
    write_rows(path, table if whole else found)
    return count - (sum(plain_json.dumps(row) in left for row in table) if whole else len(left))


@hosts.first_only
def write_rows(path: AnyPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file by one of these rows."""
    content = "".join(plain_json.dumps(row) + "\n" for row in rows)
    paths.write(path, lambda file: file.write(content.encode()))
