"""A sweep in words: its size, its ranking, what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxft.runtime.paths import AnyPath
from jaxft.runtime.table import table_lines

MOST_ROWS = 20
COLUMNS = {
    "rank": ">4",
    "lr": ">8",
    "decay": ">7",
    "dropout": ">7",
    "hidden": ">9",
    "smooth": ">6",
    "val_loss": ">8",
    "+-": ">7",
    "above the best": ">15",
    "accuracy": ">8",
}


def text(result: Mapping[str, Any], folder: AnyPath) -> str:
    """Return the ranking as a table, and what follows from it."""
    rows = result["settings"]
    lines = table_lines(COLUMNS, map(_cells, rows[:MOST_ROWS]))
    if len(rows) > MOST_ROWS:
        lines.append(f"and {len(rows) - MOST_ROWS} more in {folder}/sweep.json")
    lines += [*_notes(result), f"the best as a config: jaxft train --config={folder}/best.py"]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    setting = [
        str(row["rank"]),
        f"{row['lr']:.2g}",
        f"{row['weight_decay']:g}",
        f"{row['dropout']:g}",
        "x".join(map(str, row["hidden"])) or "none",
        f"{row['smoothing']:g}",
    ]
    if row["val_loss"] is None:
        return [*setting, "diverged", "", "", f"{row['accuracy']:.4f}"]
    above = "" if row["rank"] == 1 else f"{row['above_best']:.4f} +- {row['above_best_se']:.4f}"
    return [
        *setting,
        f"{row['val_loss']:.4f}",
        f"{row['val_loss_se']:.4f}",
        above,
        f"{row['accuracy']:.4f}",
    ]


def _notes(result: Mapping[str, Any]) -> list[str]:
    rows, grid = result["settings"], result["grid"]
    near = [r for r in rows[1:] if r["above_best"] is not None]
    near = [r for r in near if r["above_best"] <= r["above_best_se"]]
    drawn = "examples and seeds" if result["seeds"][1:] else "examples"
    notes = [f"+-: standard errors, by the bootstrap over validation {drawn}"]
    if near:
        notes.append(f"{len(near)} more lie within a standard error of the best")
    return notes + _edges(rows[0]["lr"], grid["lr"])


def _edges(best: float, tried: Sequence[float]) -> list[str]:
    """Say where the best rate is the last of those tried, so that a better one may lie beyond."""
    if len(set(tried)) < 2 or best not in (min(tried), max(tried)):
        return []
    kind = "lowest" if best == min(tried) else "highest"
    return [f"the best rate, {best:g}, is the {kind} of those tried; --lr gives others"]
