"""Files of predictions: a table as CSV, JSON or Parquet, or a competition's submission."""

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.errors import UserError, printable
from jaxft.evaluation import parquet, submission
from jaxft.runtime import csv_rows, hosts, paths
from jaxft.runtime.paths import AnyPath

STDOUT = "-"


class Layout(NamedTuple):
    """Form of a table.

    Attributes:
      format: csv, json, parquet or submission; "": by the output's suffix, CSV for any other one.
      topk: number of classes told of each image, the most probable first; 0: every probability,
        in a column for each class.
      columns, id: of a submission, as `submission.columns_of` and `submission.ids_of` take them.
    """

    format: str = ""
    topk: int = 0
    columns: str = "id,label"
    id: str = "name"


PLAIN_TABLE = Layout()


class Predicted(NamedTuple):
    """Files and their predictions.

    `extra` are more columns, by name, [files] each; `skipped` lists the files that could not be
    read, with reasons, "" where there is none.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "files classes"]
    extra: Mapping[str, np.ndarray] = {}
    skipped: str = ""


def format_of(output: str | AnyPath, layout: Layout) -> str:
    """Return the format in which an output is written."""
    suffix = paths.of(output).suffix.lower()
    return layout.format or {".json": "json", ".parquet": "parquet"}.get(suffix, "csv")


def demand(output: str | AnyPath, layout: Layout) -> None:
    """Check an output before any work.

    Raises:
      UserError: it is there already or cannot be written; a package is missing.
    """
    if format_of(output, layout) == "parquet":
        if output == STDOUT:
            raise UserError("Parquet goes into a file", hint="Give --output=FILE.parquet.")
        parquet.demand(output)
    if output != STDOUT and hosts.is_first():
        paths.demand_new(output)


def demand_submission(layout: Layout, files: Sequence[str], classes: Sequence[str]) -> None:
    """Raise UserError where a submission has columns, or ids of files, that make no sense."""
    if layout.format == "submission":
        submission.columns_of(layout.columns, classes)
        submission.ids_of(files, layout.id)


@hosts.first_only
def write(output: str | AnyPath, layout: Layout, found: Predicted) -> None:
    """Write predictions into a new file, or to stdout as `-`.

    Raises:
      FileExistsError: the file is there.
    """
    if output != STDOUT:
        with paths.open_new(paths.of(output)) as raw:
            _fill(raw, format_of(output, layout), layout, found)
        return
    aside = io.BytesIO()
    _fill(aside, format_of(output, layout), layout, found)
    sys.stdout.flush()
    if sys.stdout.isatty():
        text = aside.getvalue().decode(errors="surrogateescape")
        print(printable(text.replace("\r\n", "\n")), end="")
    else:
        sys.stdout.buffer.write(aside.getvalue())
    sys.stdout.flush()


def columns_of(found: Predicted, topk: int = 0) -> dict[str, Any]:
    """Return the columns of a table: texts as a list, numbers as an array, a cell for each file."""
    probabilities, files = found.probabilities, {"file": list(found.files)}
    if not topk:
        labels = [found.classes[index] for index in probabilities.argmax(1)]
        told = {f"p_{name}": probabilities[:, i] for i, name in enumerate(found.classes)}
        return {**files, "label": labels, **found.extra, **told}
    best = np.argsort(-probabilities, 1, kind="stable")[:, :topk]
    ranks: dict[str, Any] = {}
    for rank, chosen in enumerate(best.T, 1):
        ranks[f"label_{rank}"] = [found.classes[index] for index in chosen]
        ranks[f"p_{rank}"] = probabilities[np.arange(len(chosen)), chosen]
    return {**files, **ranks, **found.extra}


def _fill(raw: IO[bytes] | io.BytesIO, kind: str, layout: Layout, found: Predicted) -> None:
    if kind == "submission":
        columns = submission.columns_of(layout.columns, found.classes)
        ids = submission.ids_of(found.files, layout.id)
        rows = submission.rows_of(ids, columns, found.classes, found.probabilities)
        csv_rows.fill_exactly(raw, columns.head, rows)
        return
    table = columns_of(found, layout.topk)
    if kind == "parquet":
        parquet.write(
            raw,
            {
                parquet.in_utf8(name): parquet.texts(column) if isinstance(column, list) else column
                for name, column in table.items()
            },
        )
    elif kind == "json":
        raw.write(_json(table).encode())
    else:
        written = (_written(column) for column in table.values())
        csv_rows.fill(raw, list(table), zip(*written, strict=True))


def _written(column: Any) -> list[str]:
    return column if isinstance(column, list) else [f"{number:.6f}" for number in column]


def _json(table: Mapping[str, Any]) -> str:
    """A list of objects, one on a line; valid whatever the names and numbers are."""
    names = [*map(parquet.in_utf8, table)]
    rows = zip(*map(_values, table.values()), strict=True)
    lines = (
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        for row in rows
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _values(column: Any) -> list[Any]:
    if isinstance(column, list):
        return [*map(parquet.in_utf8, column)]
    return [round(float(x), 6) if math.isfinite(x) else None for x in column]
