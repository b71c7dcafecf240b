"""Rows as CSV, in UTF-8; file names of any bytes survive it, and no spreadsheet runs a cell.

A spreadsheet takes a cell that begins with `=` for a formula, and a tab or a semicolon in it for
the start of the next cell where that separates cells. As OWASP advises, a single quote then stands
before the sign. `read` takes that quote away again, so names come back as they were.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

# The start of a cell, with quotes of its own, before a sign that begins a formula.
STARTS = r"(\A|[\t\n\r,;])('*)"
SIGNS = "(?=[=+\\-@\0\t\n\r＝＋－＠])"  # noqa: RUF001  # the wide ones count, too
UNSAFE, DEFUSED = re.compile(STARTS + SIGNS), re.compile(STARTS.replace("('*)", "'('*)") + SIGNS)
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def fill(raw: IO[bytes] | io.BytesIO, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows into a binary file, which stays open."""
    fill_exactly(raw, map(defused, head), ([*map(defused, row)] for row in rows))


def fill_exactly(
    raw: IO[bytes] | io.BytesIO, head: Iterable[str], rows: Iterable[Sequence[Any]]
) -> None:
    """As `fill`, with every cell as it is: for a program that compares them."""
    file = io.TextIOWrapper(raw, newline="", encoding="utf-8", errors="surrogateescape")
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows(rows)
    file.detach()  # flushed, and left to be closed by whoever opened it


def read(text: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV that `fill` wrote, by the names in its header.

    As in csv.DictReader a row that is too short has None, and what is too long lies under None.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [*map(restored, reader.fieldnames or ())]
    for row in reader:
        yield {name: restored(cell) for name, cell in row.items()}


def defused(cell: Any) -> Any:
    """Return a cell with a single quote before each sign that begins a formula.

    A number, also one below zero, stays as it is, and so does what is no text.
    """
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return UNSAFE.sub(r"\1\2'", cell)


def restored(cell: Any) -> Any:
    """Return the text that `defused` was given."""
    return DEFUSED.sub(r"\1\2", cell) if isinstance(cell, str) else cell
