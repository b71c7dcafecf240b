"""Rows as CSV, in UTF-8; file names of any bytes survive it."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import IO, Any


def fill(raw: IO[bytes], head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows into a binary file, which stays open."""
    file = io.TextIOWrapper(raw, newline="", encoding="utf-8", errors="surrogateescape")
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows(rows)
    file.detach()  # flushed, and left to be closed by whoever opened it
