"""What the arms of a study came to, and how they differ."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from jaxft.evaluation.answers import FOLDER, METRICS
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.training.study.arms import Arm
from jaxft.workdir.rows import read_rows

SURE = 0.95  # of an interval
NO_MEAN = ("head_epochs", "seed", "valid_images")

Row = dict[str, Any]


def row_of(arm: Arm, workdir: AnyPath) -> Row:
    """Return the figures of a finished arm; docs/how-long-to-train-the-head.md explains each."""
    summary = json.loads(paths.read(workdir / "summary.json"))
    scores = json.loads(paths.read(workdir / FOLDER / METRICS))
    rows = read_rows(workdir / "metrics.jsonl")
    [body, *_] = [phase for phase in summary["phases"] if phase.get("drift")]
    start, end = body["drift"][0], body["drift"][-1]
    before = [row for row in rows if row["phase"] != body["name"]][: arm.epochs]
    first = next(row for row in rows if row["phase"] == body["name"])
    return {
        "head_epochs": arm.epochs,
        "seed": arm.seed,
        "valid_images": start["valid_images"],
        "accuracy": summary["accuracy"],
        "val_loss": summary["val_loss"],
        "calibration_error": scores["calibration"]["error"],
        "last_accuracy": rows[-1]["accuracy"],
        "head_accuracy": start["accuracy"],
        "head_val_loss": start["val_loss"],
        "head_trn_loss": before[-1]["trn_loss"] if before else None,
        "head_calibration_error": start["calibration_error"],
        "t_over_best": start.get("t_over_best"),
        "first_trn_loss": first["first_trn_loss"],
        "old_head_accuracy": end["old_head"]["accuracy"],
        "refitted_before": start["refitted_accuracy"],
        "refitted_after": end["refitted_accuracy"],
        **{
            f"{kind}_{group}": end[kind][group] for kind in ("cka", "cosine") for group in end[kind]
        },
        "head_norm": start["head_norm"],
        "gradient_norm": start["gradient_norm"],
        "seconds": summary["seconds"],
    }


def by_epochs(rows: Sequence[Row]) -> list[Row]:
    """Return for each number of epochs the means over seeds, and their standard errors.

    `KEY_se` is the standard error of `KEY`, None of a single seed. `difference` is the mean of the
    accuracies less the best arm's, seed by seed, and `half_width` that of its 95% interval by
    Student's t; `best` marks the arm of the highest mean accuracy (of equals, of the least loss).
    """
    lengths = sorted({row["head_epochs"] for row in rows})
    of = {length: [row for row in rows if row["head_epochs"] == length] for length in lengths}
    means = {length: _means(group) for length, group in of.items()}
    best = max(lengths, key=lambda n: (means[n]["accuracy"], -means[n]["val_loss"]))
    return [
        {
            "head_epochs": length,
            "seeds": len(of[length]),
            "best": length == best,
            **means[length],
            **_difference(of[length], of[best]),
        }
        for length in lengths
    ]


def _means(rows: Sequence[Row]) -> Row:
    found: Row = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key in NO_MEAN or any(value is None for value in values):
            continue
        found[key] = float(np.mean(values))
        found[f"{key}_se"] = _error(values)
    return found


def _difference(rows: Sequence[Row], best: Sequence[Row]) -> Row:
    """Compare the accuracies of two arms, seed by seed."""
    other = {row["seed"]: row["accuracy"] for row in best}
    apart = [row["accuracy"] - other[row["seed"]] for row in rows]
    error = _error(apart)
    if error is None:
        return {"difference": apart[0], "half_width": None}
    quantile = float(stats.t.ppf((1 + SURE) / 2, len(apart) - 1))
    return {"difference": float(np.mean(apart)), "half_width": quantile * error}


def _error(values: Sequence[float]) -> float | None:
    """Standard error of a mean; None of one value."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def result_of(rows: Sequence[Row], rates: Mapping[str, float]) -> Row:
    """Return what `study.json` holds."""
    told = {"validation_examples": rows[0]["valid_images"], "rates": dict(rates)}
    return {**told, "arms": by_epochs(rows), "runs": list(rows)}
