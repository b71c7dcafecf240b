"""The phases of a run in time: when each ran, and what it spent its time on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxft.report.page.axes import Scale, Tick
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, duration, four, is_number, rate, share

PARTS = {"compile": "compilation", "input_wait": "waiting for images", "compute": "computing"}
START = 4.0
END = 376.0
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
UNFINISHED = "not finished"
SET_UP = "opening data and model"
LEGEND = {"set_up": SET_UP, **PARTS}


class Piece(NamedTuple):
    """A piece of a bar, in SVG units; `kind` is a class of the style sheet."""

    kind: str
    x: float
    width: float
    title: str


class PhaseTime(NamedTuple):
    """A row of the time line: a phase, or the start; `cells` are its parts in words."""

    name: str
    total: str
    pieces: Sequence[Piece]
    cells: Sequence[str]


class TimeLine(NamedTuple):
    """A bar for each phase, one after the other, on an axis of time."""

    rows: Sequence[PhaseTime]
    ticks: Sequence[Tick]
    partial: bool


class PhaseRow(NamedTuple):
    """A row of the table of phases, in words."""

    name: str
    lr: str
    epochs: str
    cycles: str
    best_epoch: str
    trn_loss: str
    val_loss: str
    accuracy: str
    ended_by: str


ENDED = {
    "epochs": "its last epoch",
    "max_cycles": "its last cycle",
    "overfit": "over-fitting",
    "interrupted": "a signal",
    "nonfinite": "a loss that is not finite",
}


def phase_rows(found: Contents) -> list[PhaseRow]:
    """Return the phases that have finished, and the one under way."""
    rows = [
        PhaseRow(
            name=phase["name"],
            lr=rate(phase.get("lr")),
            epochs=count(phase.get("epochs")),
            cycles=count(phase.get("cycles")),
            best_epoch=count(phase.get("best_epoch")),
            trn_loss=four(phase.get("trn_loss")),
            val_loss=four(phase.get("val_loss")),
            accuracy=four(phase.get("accuracy")),
            ended_by=ENDED.get(phase.get("ended_by", ""), str(phase.get("ended_by", ""))),
        )
        for phase in found.summary.get("phases", ())
    ]
    return rows + [_under_way(name, epochs) for name, epochs in _others(found).items()]


def _under_way(name: str, epochs: Sequence[Mapping[str, Any]]) -> PhaseRow:
    """Describe a phase that has not finished by its last epoch."""
    last = epochs[-1]
    cycles = len({row.get("cycle") for row in epochs})
    highest = max((lr for row in epochs for lr in row.get("lr", {}).values()), default=None)
    return PhaseRow(
        name=name,
        lr=rate(highest),
        epochs=count(len(epochs)),
        cycles=count(cycles),
        best_epoch=count(None),
        trn_loss=four(last.get("trn_loss")),
        val_loss=four(last.get("val_loss")),
        accuracy=four(last.get("accuracy")),
        ended_by=UNFINISHED,
    )


def _others(found: Contents) -> dict[str, list[dict[str, Any]]]:
    """Phase -> its epochs, of the phases that the summary does not have."""
    finished = {phase["name"] for phase in found.summary.get("phases", ())}
    epochs: dict[str, list[dict[str, Any]]] = {}
    for row in found.rows:
        if row["phase"] not in finished:
            epochs.setdefault(row["phase"], []).append(row)
    return epochs


def time_line(found: Contents) -> TimeLine | None:
    """Return the time line; of an unfinished phase the epochs count alone. None without times."""
    told = {
        phase["name"]: phase["seconds"]
        for phase in found.summary.get("phases", ())
        if is_number(phase.get("seconds", {}).get("total"))
    }
    others = {name: _of_epochs(rows) for name, rows in _others(found).items()}
    whole = found.summary.get("seconds")
    before = whole - sum(parts["total"] for parts in told.values()) if is_number(whole) else 0.0
    first = {SET_UP: {"total": before}} if before > 0 else {}
    phases = {**first, **told, **others}
    total = sum(parts["total"] for parts in phases.values())
    if not total:
        return None
    axis, begin, rows = Scale(0, total, START, END), 0.0, []
    for name, parts in phases.items():
        rows.append(_row(name, parts, begin, axis))
        begin += parts["total"]
    return TimeLine(rows, _ticks(axis), bool(others))


def _of_epochs(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Add up the seconds of epochs; how long they compiled, they do not tell."""
    timed = [row for row in rows if is_number(row.get("seconds"))]
    waits = sum(row["seconds"] * row.get("input_wait", 0.0) for row in timed)
    total = sum(row["seconds"] for row in timed)
    return {"total": total, "input_wait": waits, "compute": total - waits}


def _row(name: str, parts: Mapping[str, float], begin: float, axis: Scale) -> PhaseTime:
    total = parts["total"]
    shown = {key: parts[key] for key in PARTS if is_number(parts.get(key))} or {"set_up": total}
    pieces, at = [], begin
    for key, seconds in shown.items():
        words = f"{name}: {PARTS.get(key, SET_UP)} {duration(seconds)}"
        x = axis(at)
        pieces.append(Piece(key, x, round(max(axis(at + seconds) - x, 0), 2), words))
        at += seconds
    cells = [
        f"{duration(parts[key])} ({share(parts[key] / total)})"
        if is_number(parts.get(key)) and total
        else duration(None)
        for key in PARTS
    ]
    return PhaseTime(name, duration(total), pieces, cells)


def _ticks(axis: Scale) -> list[Tick]:
    step = next((step for step in STEPS if axis.high / step <= 6), axis.high / 4)
    times = [at * step for at in range(int(axis.high // step) + 1)]
    return [Tick(axis(time), duration(time) if time else "0") for time in times]
