"""Files that tell of a split's predictions: metrics, tables, pictures."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxft.data.images.memory import Images
from jaxft.evaluation.answers import METRICS, PREDICTIONS, WRONG, confusion
from jaxft.report.answers import matrix, sheet
from jaxft.report.answers.examples import Examples, examples_of
from jaxft.report.figure import save_figure
from jaxft.runtime import csv_rows, hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import write_document

COLUMNS = ("file", "true", "predicted", "p_true", "p_predicted", "loss")


@hosts.first_only
def write_answers(
    folder: AnyPath,
    scores: Mapping[str, Any],
    probabilities: Float[np.ndarray, "examples classes"],
    images: Images,
    classes: Sequence[str],
) -> None:
    """Write all that a split's probabilities say into a folder, which is made.

    `predictions.csv` holds every example, `wrong.csv` those that are wrong, the largest loss first;
    `metrics.json` the scores, and the digests of these two; `confusion.csv` and `.png` the
    confusion matrix; `most_wrong`, `least_sure` and `surest_right.png` contact sheets, where there
    are such examples.
    """
    labels = images.split.labels
    examples = examples_of(images.split.names, classes, labels, probabilities)
    counts = confusion(examples.predicted, labels, len(classes))
    paths.make_folder(folder)
    _write_examples(folder / PREDICTIONS, examples, np.arange(len(labels)))
    _write_examples(folder / WRONG, examples, examples.most_wrong)
    files = {name: sha256(paths.read(folder / name)).hexdigest() for name in (PREDICTIONS, WRONG)}
    write_document(folder / METRICS, {**scores, "files": files})
    rows = ([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))
    _write_table(folder / "confusion.csv", ["true \\ predicted", *classes], rows)
    save_figure(matrix.draw(counts, classes), folder / "confusion.png")
    for name in ("most_wrong", "least_sure", "surest_right"):
        place = folder / f"{name}.png"
        if len(order := getattr(examples, name)):
            sheet.save_sheet(place, examples, order, images)
        else:  # a run that went on may have left one of its earlier end
            place.unlink(missing_ok=True)


def _write_examples(path: AnyPath, examples: Examples, order: Int[np.ndarray, " listed"]) -> None:
    rows = (examples.row(int(index)) for index in order)
    plain = ([*row[:3], *(f"{number:.6g}" for number in row[3:])] for row in rows)
    _write_table(path, COLUMNS, plain)


def _write_table(path: AnyPath, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    paths.write(path, lambda raw: csv_rows.fill(raw, head, rows))
