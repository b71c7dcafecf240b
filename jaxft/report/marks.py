"""Marks of a run's course on a picture: its phases, unfreezing, restarts, the epoch kept."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Rows = Sequence[Mapping[str, Any]]

STYLES: dict[str, dict[str, Any]] = {
    "phase": {"color": "0.6", "lw": 0.8},
    "layers unfrozen": {"color": "C4", "lw": 1.6},
    "restart of a cycle": {"color": "0.6", "lw": 0.8, "ls": "--"},
    "epoch kept": {"color": "C3", "lw": 0.8, "ls": ":"},
}
FONT = 8  # points
CHARACTER = 0.6 * FONT / 72  # inches, of a letter of a phase's name
LEVEL = 0.16  # inches, from one line of names to the next


class Place(NamedTuple):
    """A mark of a kind of STYLES at the beginning of an epoch, by its row."""

    kind: str
    row: int
    phase: str = ""


def places(rows: Rows) -> list[Place]:
    """Return where phases begin, frozen layers begin to learn, and cycles begin anew."""
    found = [Place("phase", 0, rows[0]["phase"])]
    for number, (before, row) in enumerate(pairwise(rows), 1):
        if row["phase"] != before["phase"]:
            found.append(Place("phase", number, row["phase"]))
            if set(row["lr"]) - set(before["lr"]):
                found.append(Place("layers unfrozen", number))
        elif row["cycle"] != before["cycle"]:
            found.append(Place("restart of a cycle", number))
    return found


def row_of(rows: Rows, kept: Mapping[str, Any]) -> int:
    """Return the row of the epoch whose weights are kept."""
    return [(row["phase"], row["epoch"]) for row in rows].index((kept["phase"], kept["epoch"]))


def draw(figure: Figure, rows: Rows, begins: Sequence[float], kept: float) -> None:
    """Draw all marks on a figure's panels, and a legend below them.

    Args:
      figure: its panels have a common x axis, whose limits are final; the names of the phases
        stand above the first.
      rows: of metrics.jsonl.
      begins: x where the epoch of each row begins.
      kept: x of the epoch whose weights are kept.
    """
    found = places(rows)
    lines = [(place.kind, begins[place.row]) for place in found] + [("epoch kept", kept)]
    for panel in figure.axes:
        for kind, x in lines:
            panel.axvline(x, **STYLES[kind])
        panel.grid(alpha=0.3)
    _name([(begins[place.row], place.phase) for place in found if place.phase], figure)
    kinds = [kind for kind in dict.fromkeys(kind for kind, _ in lines) if kind != "phase"]
    handles = [Line2D([], [], label=kind, **STYLES[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=FONT)


def _name(phases: Sequence[tuple[float, str]], figure: Figure) -> None:
    """Write the names of phases where they begin, on as many levels as keep them apart."""
    panel, width = figure.axes[0], figure.get_figwidth()
    low, high = panel.get_xlim()
    ends: list[float] = []  # of each level, as a share of the panel's width
    for x, name in phases:
        room = (len(name) + 2) * CHARACTER / width
        left = max(min((x - low) / (high - low), 1 - room), 0.0)
        level = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[level : level + 1] = [left + room]
        y = 5 + 72 * LEVEL * level
        panel.annotate(
            name, (left, 1), xytext=(2, y), xycoords="axes fraction", textcoords="offset points",
            fontsize=FONT,
        )  # fmt: skip
