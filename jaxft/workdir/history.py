"""A run's rows: of its newest checkpoint as far as that goes, then of metrics.jsonl."""

from typing import Any

from jaxft.errors import UserError
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import cursor
from jaxft.workdir.rows import read_rows

FILE = "metrics.jsonl"


def read_history(workdir: AnyPath) -> list[dict[str, Any]]:
    """Return a row per epoch, whatever became of metrics.jsonl since the newest checkpoint."""
    table = stored(workdir)
    return [*table, *read_rows(workdir / FILE, after=len(table))]


def stored(workdir: AnyPath) -> list[dict[str, Any]]:
    """Return the rows that the newest checkpoint holds; none of an earlier version of jaxft."""
    try:
        reached = cursor.newest(workdir)
    except UserError:  # of another version
        return []
    return reached.table if reached and len(reached.table) == reached.rows else []
