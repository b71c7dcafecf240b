"""Averages of the kept cycle ends in words, and as a table of text."""

from collections.abc import Mapping
from typing import Any

from jaxft.runtime.table import table_lines

COLUMNS = {"weights": "<30", "accuracy": ">8", "val_loss": ">8", "t": ">7", "p": ">7"}


def counted(ends: int) -> str:
    """Write a number of cycle ends."""
    return f"{ends} cycle end{'' if ends == 1 else 's'}"


def cells(row: Mapping[str, Any], unknown: str = "") -> list[str]:
    """Write the figures of a row: accuracy, loss, the t of the losses, the p of the accuracies."""
    forms = {"accuracy": ".4f", "val_loss": ".4f", "t": "+.2f", "p": ".2g"}
    return [
        unknown if row.get(key) is None else format(row[key], form) for key, form in forms.items()
    ]


def lines(kept: Mapping[str, Any]) -> list[str]:
    """Return the table of `summary.json`'s `kept` as lines, and its verdict."""
    rows = [(str(row["weights"]), *cells(row)) for row in kept["rows"]]
    return [*table_lines(COLUMNS, rows), verdict(kept)]


def verdict(kept: Mapping[str, Any]) -> str:
    """Tell what the table means for the run's weights."""
    if chosen := kept.get("chosen"):
        return f"{chosen}: better than the best epoch by the paired test, and kept in its place"
    if not any("ends" in row for row in kept["rows"]):
        return "fewer than two cycle ends are there: no average, and the best epoch is kept"
    return "no average beats the best epoch by the paired test (t at most -2): it is kept"
