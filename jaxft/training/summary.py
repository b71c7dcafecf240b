"""`summary.json`: the results of a run."""

from typing import Any

from jaxft.materials.materials import Materials
from jaxft.report import advice, bottleneck
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.process import cores
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import read_object, write_document


def summarise(
    workdir: AnyPath, cursor: Cursor, ended_by: str, materials: Materials
) -> dict[str, Any]:
    """Write and return `summary.json`; its top level describes the run's final weights."""
    kept = cursor.best or {}
    summary = {
        "accuracy": kept.get("accuracy"),
        "val_loss": kept.get("val_loss"),
        "seconds": cursor.setup_seconds + sum(p["seconds"]["total"] for p in cursor.phases),
        "saving_seconds": cursor.saving_seconds,
        "ended_by": ended_by,
        "best": cursor.best,
        "best_by": materials.settings.best_by,
        "baselines": cursor.baselines or None,
        "advice": advice.advice(materials.settings, cursor.best, cursor.phases),
        "bottleneck": bottleneck.of_phases(
            cursor.phases,
            materials.settings.data,
            materials.train_images.in_memory,
            cores(),
        ),
        "phases": cursor.phases,
        **({"kept": cursor.kept} if cursor.kept else {}),
        **(_diverged(materials, cursor) if ended_by == "nonfinite" else {}),
    }
    write_document(workdir / "summary.json", summary)
    return summary


def _diverged(materials: Materials, cursor: Cursor) -> dict[str, Any]:
    """Tell in which phase the loss was no longer finite, and the phase's rate if it had one."""
    name = materials.settings.phases[cursor.phase_index].name
    return {"diverged": {"phase": name, "lr": cursor.phase.rate}}


def finished_summary(workdir: AnyPath) -> dict[str, Any] | None:
    """The summary of a finished run, if the workdir holds one."""
    summary = read_object(workdir / "summary.json")
    return (
        None
        if not summary or summary.get("ended_by", "interrupted") in ("interrupted", "nonfinite")
        else summary
    )
