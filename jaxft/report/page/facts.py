"""Facts of a run as tables of keys and values: config, data, weights, versions, starts, epochs."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, duration, four, is_number, rate, share

Keys = list[tuple[str, str]]


class Start(NamedTuple):
    """A start of the run, in words."""

    time: str
    from_step: str
    to_step: str
    ended_by: str
    devices: str


def starts(found: Contents) -> list[Start]:
    """Describe every start of the command."""
    return [
        Start(
            when(row.get("time")),
            count(row.get("from_step")),
            count(row.get("to_step")),
            str(row.get("ended_by", "")),
            _devices(row.get("devices") or {}),
        )
        for row in found.starts
    ]


def when(time: Any) -> str:
    """Write seconds since 1970 as a date."""
    if not is_number(time):
        return four(None)
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _devices(told: Mapping[str, Any]) -> str:
    if not told:
        return four(None)
    processes = told.get("processes", 1)
    several = f", in {processes} processes" if processes != 1 else ""
    kind = "" if told.get("kind") == told.get("platform") else f" ({told.get('kind')})"
    return f"{told.get('count')} {told.get('platform')}{kind}{several}"


def tables(found: Contents) -> list[tuple[str, Keys]]:
    """Return what a run started from: the data, the weights, the versions of its last start."""
    data = {key: value for key, value in found.data.items() if not isinstance(value, dict | list)}
    last = found.starts[-1] if found.starts else {}
    titled = {"Data": data, "Weights": found.weights, "Versions": last.get("versions") or {}}
    return [(title, flat(told)) for title, told in titled.items() if told]


def config(found: Contents) -> list[tuple[str, Keys]]:
    """Return the whole config by sections, the keys of no section first."""
    sections = {key: value for key, value in found.config.items() if isinstance(value, dict)}
    phases = found.config.get("phases") or []
    others = {k: v for k, v in found.config.items() if k not in sections and k != "phases"}
    named = {f"phases[{number}]: {phase['name']}": phase for number, phase in enumerate(phases)}
    titled = {"config": others, **sections, **named}
    return [(title, flat(told)) for title, told in titled.items() if told]


def flat(told: Mapping[str, Any], path: str = "") -> Keys:
    """Return nested keys with dots between, and their values as JSON writes them."""
    found: Keys = []
    for key, value in told.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            found += flat(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found.append((name, text))
    return found


def epochs(found: Contents) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of the table of all epochs, in words."""
    groups = list(dict.fromkeys(group for row in found.rows for group in row.get("lr", ())))
    balanced = any("balanced_accuracy" in row for row in found.rows)
    heads = ["phase", "epoch", "cycle", "steps", "training loss", "validation loss", "accuracy"]
    heads += ["balanced accuracy"] if balanced else []
    heads += [*(f"rate of {group}" for group in groups), "images/s", "time", "waited"]
    rows = []
    for row in found.rows:
        cells = [str(row["phase"]), *(count(row.get(key)) for key in ("epoch", "cycle"))]
        cells.append(count(row.get("global_step")))
        keys = ["trn_loss", "val_loss", "accuracy"] + ["balanced_accuracy"] * balanced
        cells += [four(row.get(key)) for key in keys]
        cells += [rate(row.get("lr", {}).get(group)) for group in groups]
        cells += [count(row.get("images_per_second")), duration(row.get("seconds"))]
        rows.append([*cells, share(row.get("input_wait"))])
    return heads, rows
