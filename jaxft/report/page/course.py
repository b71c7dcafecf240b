"""The course of a run over its steps: charts of losses, accuracy and rates."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from jaxft.models.variables import GROUPS
from jaxft.report.page import chart
from jaxft.report.page.axes import Scale, scale
from jaxft.report.page.chart import Band, Chart, Dot, Entry, Line, Mark
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, four, is_number, rate

LABEL_ROOM = 12.0  # between the numbers of two phases


def charts(found: Contents) -> list[Chart]:
    """Return the charts; none before the first epoch."""
    if not found.rows:
        return []
    return [_losses(found), _accuracy(found), _rates(found)]


def _losses(found: Contents) -> Chart:
    keys = {"training": "trn_loss", "validation": "val_loss"}
    values = [_number(row, key) for row in found.rows for key in keys.values()]
    up = scale(values, chart.BOTTOM, chart.TOP, log=all(value > 0 for value in values))
    lines = [
        _line(f"s{number}", found.rows, key, name, up, four)
        for number, (name, key) in enumerate(keys.items(), 1)
    ]
    entries = [Entry("s1", "training"), Entry("s2", "validation")]
    return _chart(found, "losses", "Loss", up, lines, entries, "val_loss")


def _accuracy(found: Contents) -> Chart:
    up = scale((_number(row, "accuracy") for row in found.rows), chart.BOTTOM, chart.TOP)
    lines = [_line("s2", found.rows, "accuracy", "accuracy", up, four)]
    entries = [Entry("s2", "validation")]
    return _chart(found, "accuracy", "Accuracy", up, lines, entries, "accuracy")


def _rates(found: Contents) -> Chart:
    tables = [{"step": _step(row), "at": _where(row), **row.get("lr", {})} for row in found.rows]
    groups = [group for group in GROUPS if any(group in table for table in tables)]
    values = [_number(table, group) for table in tables for group in groups]
    up = scale(values, chart.BOTTOM, chart.TOP, log=True)
    lines = [
        _line(f"s{number}", tables, group, f"rate of {group}", up, rate)
        for number, group in enumerate(groups, 1)
    ]
    entries = [Entry(f"s{number}", group) for number, group in enumerate(groups, 1)]
    title = "Highest learning rate of each epoch, by layer group"
    return _chart(found, "rates", title, up, lines, entries, "")


def _chart(
    found: Contents,
    key: str,
    title: str,
    up: Scale,
    lines: Sequence[Line],
    entries: Sequence[Entry],
    starred: str,
) -> Chart:
    """Return a chart with what all three show: phases, restarts, and the epoch that is kept."""
    across = _across(found.rows)
    bands, restarts = _bands(found.rows, across), _restarts(found.rows, across)
    kept = _kept(found, across, up, starred)
    marks = [*_unfreezings(found.rows, across), *restarts]
    legend = [*entries, *_legend_of(marks)]
    if kept:
        marks.append(Mark("kept", kept.x, kept.title))
        legend.append(Entry("kept", "epoch kept"))
    legend += [Entry("number", f"{band.label} {band.title}") for band in bands]
    return Chart(
        key=key,
        title=title,
        told=f"{len(found.rows)} epochs of {len(bands)} phases; a table below has the numbers",
        x_label="step",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        lines=lines,
        marks=marks,
        bands=bands,
        legend=legend,
        stars=[kept] if kept and starred else [],
    )


def _line(
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    name: str,
    up: Scale,
    written: Any,
) -> Line:
    across = _across(rows)
    points = [
        (_step(row), _number(row, key), f"{name} {written(row.get(key))} ({_where(row)})")
        for row in rows
    ]
    return chart.line(kind, points, across, up)


def _across(rows: Sequence[Mapping[str, Any]]) -> Scale:
    return Scale(0, max(map(_step, rows)) or 1, chart.LEFT, chart.RIGHT)


def _step(row: Mapping[str, Any]) -> float:
    return float(row.get("global_step", row.get("step", 0)))


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if is_number(value) else math.nan


def _where(row: Mapping[str, Any]) -> str:
    return str(row.get("at") or f"{row['phase']}, epoch {row.get('epoch')}")


def _bands(rows: Sequence[Mapping[str, Any]], across: Scale) -> list[Band]:
    """Return a stretch for each phase, numbered; numbers of short ones move to the right."""
    ends: dict[str, float] = {}
    for row in rows:
        ends[row["phase"]] = across(_step(row))
    bands, begin, free = [], across(0), 0.0
    for number, (name, end) in enumerate(ends.items(), 1):
        label_x = max((begin + end) / 2, free)
        bands.append(Band(begin, max(end - begin, 0), str(number), label_x, name))
        begin, free = end, label_x + LABEL_ROOM
    return bands


def _unfreezings(rows: Sequence[Mapping[str, Any]], across: Scale) -> list[Mark]:
    """Return a mark where layer groups begin to learn that were frozen before."""
    marks = []
    for before, row in pairwise(rows):
        new = [group for group in row.get("lr", ()) if group not in before.get("lr", ())]
        if new and row["phase"] != before["phase"]:
            words = f"{' and '.join(new)} unfrozen, step {count(_step(before))}"
            marks.append(Mark("unfrozen", across(_step(before)), words))
    return marks


def _restarts(rows: Sequence[Mapping[str, Any]], across: Scale) -> list[Mark]:
    """Return a mark where a cycle ends and the rate is put up again."""
    return [
        Mark("restart", across(_step(before)), f"restart, step {count(_step(before))}")
        for before, row in pairwise(rows)
        if row["phase"] == before["phase"] and row.get("cycle") != before.get("cycle")
    ]


def _legend_of(marks: Sequence[Mark]) -> list[Entry]:
    words = {"unfrozen": "layers unfrozen", "restart": "restart of a cycle"}
    return [Entry(kind, words[kind]) for kind in dict.fromkeys(mark.kind for mark in marks)]


def _kept(found: Contents, across: Scale, up: Scale, key: str) -> Dot | None:
    """Return a star at the epoch whose weights are kept; an average of several has none."""
    best = {} if found.best.get("average") else found.best
    for row in found.rows:
        if best and (row["phase"], row.get("epoch")) == (best["phase"], best["epoch"]):
            value = _number(row, key) if key else up.low
            place = up(value) if math.isfinite(value) else chart.BOTTOM
            return Dot(across(_step(row)), place, f"kept: {_where(row)} {four(row.get(key))}")
    return None
