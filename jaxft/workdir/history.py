"""A run's rows: of its newest checkpoint as far as that goes, then of metrics.jsonl."""

from typing import Any

from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint
from jaxft.workdir.rows import read_rows

FILE = "metrics.jsonl"


def read_history(workdir: AnyPath) -> list[dict[str, Any]]:
    """Return a row per epoch, whatever became of metrics.jsonl since the newest checkpoint."""
    table = stored(workdir)
    return [*table, *read_rows(workdir / FILE, after=len(table))]


def stored(workdir: AnyPath) -> list[dict[str, Any]]:
    """Return the rows that the newest checkpoint holds; none of an earlier version of jaxft."""
    at = checkpoint.newest_cursor(workdir) or {}
    table: list[dict[str, Any]] = at.get("table", [])
    return table if len(table) == at.get("rows") else []
