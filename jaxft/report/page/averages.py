"""The averages of a run's cycle ends, as its page shows them."""

from typing import NamedTuple

from jaxft.report import kept
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import NONE

HEADS = ("weights", "accuracy", "validation loss", "t", "p")


class Row(NamedTuple):
    """Figures of weights, in words; `chosen` are the average that a run ends with."""

    name: str
    cells: list[str]
    chosen: bool


class Averages(NamedTuple):
    """The table, what it means, and the files that it lacks."""

    heads: tuple[str, ...]
    rows: list[Row]
    verdict: str
    left_out: list[str]


def told(found: Contents) -> Averages | None:
    """Return the table of averages; None of a run that kept no cycle ends."""
    judged = found.summary.get("kept")
    if not judged:
        return None
    rows = [
        Row(row["weights"], kept.cells(row, NONE), row["weights"] == judged.get("chosen"))
        for row in judged["rows"]
    ]
    words = kept.verdict(judged)
    sentence = f"{words[0].upper()}{words[1:]}."
    return Averages(HEADS, rows, sentence, list(judged.get("left_out", ())))
