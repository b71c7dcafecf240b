"""`starts.jsonl`: the time of every start, its first and last step, what ended it, and on what."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxft.devices import provenance
from jaxft.errors import Interrupted, NonFiniteError
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import read_rows, sealed, write_rows

FILE = "starts.jsonl"
ENDS: dict[type[BaseException], str] = {
    Interrupted: "interrupted",
    KeyboardInterrupt: "interrupted",  # told to stop twice: at once
    NonFiniteError: "nonfinite",
}


@contextmanager
def noted(workdir: AnyPath, cursor: Cursor, changes: Sequence[str] = ()) -> Iterator[None]:
    """Note a start that lasts as long as this block; if it is killed, it counts as interrupted.

    Args:
      workdir, cursor: of the run.
      changes: a line on each key of the config with which the run goes on from here.
    """
    before = _earlier(workdir, cursor.global_step)
    start = {
        "time": time.time(),
        "from_step": cursor.global_step,
        "to_step": None,
        "devices": provenance.devices(),
        "versions": provenance.versions(),
        **({"changes": list(changes)} if changes else {}),
    }
    write_rows(workdir / FILE, [*map(sealed, before), sealed({**start, "ended_by": "interrupted"})])
    ended_by = "failed"
    try:
        yield
        ended_by = cursor.phases[-1]["ended_by"]
    except tuple(ENDS) as error:
        ended_by = ENDS[type(error)]
        raise
    finally:
        row = {**start, "to_step": cursor.global_step, "ended_by": ended_by}
        write_rows(workdir / FILE, [*map(sealed, before), sealed(row)])


def _earlier(workdir: AnyPath, reached: int) -> list[dict[str, Any]]:
    """Rows of earlier starts; one that was killed got as far as its last checkpoint."""
    rows = read_rows(workdir / FILE)
    return [{**row, "to_step": reached} if row.get("to_step") is None else row for row in rows]
