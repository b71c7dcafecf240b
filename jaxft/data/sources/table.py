"""A CSV that lists image files and their classes."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jaxft.data.sources import bucket
from jaxft.data.sources.classes import composed
from jaxft.data.sources.found import Found, is_labelled
from jaxft.data.sources.sides import TEST_NAMES, TRAIN_NAMES, VALID_NAMES
from jaxft.errors import UserError, unusable_data
from jaxft.runtime import csv_rows, paths
from jaxft.runtime.paths import AnyPath


def list_table(argument: str) -> Found:
    """List a CSV with the columns file,label[,split]; files are relative to its folder.

    Quotes with which jaxft itself defuses names (`csv_rows`) do not count.

    Raises:
      UserError: no such file, or no CSV.
    """
    table = paths.of(argument)
    if not table.is_file():
        raise UserError(f"no such file: {table}")
    try:
        return _rows(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise unusable_data(table, [f"not a CSV file in UTF-8: {error}"]) from None


class Row(NamedTuple):
    """A line of a CSV; `file` is a path, "" where none is named."""

    line: int
    file: str
    label: str
    side: str
    too_long: bool


def _rows(table: AnyPath) -> Found:
    train: list[tuple[str, str]] = []
    valid: list[tuple[str, str]] = []
    test: list[tuple[str, str]] = []
    reader = csv.DictReader(
        io.StringIO(paths.read(table).decode("utf-8-sig"), newline=""), skipinitialspace=True
    )
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if problems := list(_wrong_columns(reader.fieldnames)):
        return Found(str(table), [], None, [], problems)
    has_split = "split" in reader.fieldnames
    rows = [_row(reader.line_num, cells, table, has_split) for cells in reader]
    known = bucket.beside(row.file for row in rows if paths.is_remote(row.file))
    first_lines = _first_lines(rows)
    for row in rows:
        problems += [f"line {row.line}: {wrong}" for wrong in _wrong(row, known, first_lines)]
        side = test if row.side in TEST_NAMES else valid if row.side in VALID_NAMES else train
        side.append((row.file, row.label))
    if not train and not valid:
        problems.append("no rows")
    test = test if is_labelled(test, train) else []
    valid_or_none = valid if has_split and valid else None
    return Found(str(table), train, valid_or_none, test, problems, known)


# Columns that others' tools split by.
SPLITS = (
    *("is_valid", "is_val", "is_validation", "is_train", "is_test"),
    *("fold", "set", "subset", "partition"),
)


def _wrong_columns(names: Sequence[str]) -> Iterator[str]:
    has = ", ".join(names) or "nothing"
    for name in ("file", "label"):
        if name not in names:
            yield f'no column "{name}" (its first line: {has})'
    for name, count in Counter(names).items():
        if name and count > 1:
            yield f'{count} columns "{name}"'
    for name in names:
        if name in SPLITS and "split" not in names:
            yield (
                f'column "{name}": does it split the images? Call it split, its cells train, valid '
                "or test; if it does not, call it otherwise"
            )


def _row(line: int, cells: dict[Any, Any], table: AnyPath, has_split: bool) -> Row:
    name = csv_rows.restored((cells["file"] or "").strip())
    if name and not paths.is_remote(name):
        given = paths.expanded(name)
        # From Python 3.12 on, a bucket's path joins an absolute one as if it were relative.
        name = str(given if given.is_absolute() else table.parent / given)
    label = composed(csv_rows.restored((cells["label"] or "").strip()))
    side = (cells["split"] or "").strip().lower() if has_split else "train"
    # The reader keeps what is beyond the columns under None.
    return Row(line, name, label, side, None in cells)


def _first_lines(rows: Sequence[Row]) -> dict[int, int]:
    """Line -> the line that named its file first, for lines whose file was named before."""
    folder_of = cache(os.path.realpath)  # asks for every part of a path, so once for each folder
    first: dict[str, int] = {}
    again = {}
    for row in rows:
        if row.file:
            line = first.setdefault(_one_name(row.file, folder_of), row.line)
            if line != row.line:
                again[row.line] = line
    return again


def _one_name(file: str, folder_of: Callable[[str], str]) -> str:
    if paths.is_remote(file):
        return file
    folder, name = os.path.split(file)
    path = os.path.join(folder_of(folder), name)
    return os.path.realpath(path) if os.path.islink(path) else path


def _wrong(row: Row, known: Mapping[str, str], first_lines: Mapping[int, int]) -> Iterator[str]:
    if row.too_long:
        yield "more cells than the first line"
    if not row.file:
        yield "no file named"
    elif row.file not in known and (paths.is_remote(row.file) or not os.path.isfile(row.file)):
        yield f"no such file: {row.file}"
    if row.line in first_lines:
        yield f"the same file as in line {first_lines[row.line]}: {row.file}"
    if not row.label:
        yield "empty label"
    if row.side not in (*TRAIN_NAMES, *VALID_NAMES, *TEST_NAMES):
        yield f'unknown split "{row.side}" (known: train, valid, test)'
