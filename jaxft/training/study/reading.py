"""What the arms of a study came to, and how they differ."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from jaxft.evaluation.answers import FOLDER, METRICS
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.training.study.arms import Arm
from jaxft.workdir.history import read_history
from jaxft.workdir.rows import parse

SURE = 0.95  # of an interval
NO_MEAN = ("head_epochs", "seed", "valid_images")

Row = dict[str, Any]


def row_of(arm: Arm, workdir: AnyPath) -> Row:
    """Return the figures of a finished arm; docs/how-long-to-train-the-head.md explains each."""
    summary = parse(paths.read(workdir / "summary.json"))
    scores = parse(paths.read(workdir / FOLDER / METRICS))
    rows = read_history(workdir)
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

    `KEY_se` is the standard error of `KEY`, None of a single seed. `best` marks the arm of the
    highest mean accuracy (of equals, of the least loss), `difference` is an arm's mean accuracy
    less that one's, `half_width` that of the difference's 95% interval. `over_fitted` is true where
    the head's validation loss at the unfreezing is beyond doubt above that of a shorter training.
    Both are None of a single seed.
    """
    lengths = sorted({row["head_epochs"] for row in rows})
    of = {length: [row for row in rows if row["head_epochs"] == length] for length in lengths}
    means = {length: _means(group) for length, group in of.items()}
    best = max(lengths, key=lambda n: (means[n]["accuracy"], -means[n]["val_loss"]))
    half = tukey(list(of.values()), "accuracy")
    room = tukey([of[length] for length in lengths if length], "head_val_loss")
    found = []
    for length in lengths:
        loss = means[length]["head_val_loss"]
        least = min(means[n]["head_val_loss"] for n in lengths if n <= length)
        apart = {
            "difference": means[length]["accuracy"] - means[best]["accuracy"],
            "half_width": half,
            "over_fitted": None if room is None else bool(loss - least > room),
        }
        about = {"head_epochs": length, "seeds": len(of[length]), "best": length == best}
        found.append({**about, **means[length], **apart})
    return found


def tukey(arms: Sequence[Sequence[Row]], key: str) -> float | None:
    """Return by how much two arms' means must differ to be different beyond doubt.

    With this margin all pairs of arms are compared at once, so that it holds for the best one, too,
    though that was chosen by the same figures. The error is what arms and seeds leave over, so
    that what a seed does to all arms is not in it. None where there are not two of each.

    Source: Tukey's honestly significant difference, in a randomised block design.
    """
    values = np.asarray([[row[key] for row in sorted(arm, key=_seed)] for arm in arms])
    count, seeds = values.shape
    if count < 2 or seeds < 2:
        return None
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (count - 1) * (seeds - 1)
    error = np.sqrt((left**2).sum() / freedom / seeds)
    return _quantile(count, freedom) * float(error)


@cache
def _quantile(count: int, freedom: int) -> float:
    """Return that of the studentised range, which takes a while to compute."""
    return float(stats.studentized_range.ppf(SURE, count, freedom))


def _seed(row: Row) -> int:
    return int(row["seed"])


def _means(rows: Sequence[Row]) -> Row:
    found: Row = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key in NO_MEAN or any(value is None for value in values):
            continue
        found[key] = float(np.mean(values))
        error = float(np.std(values, ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else None
        found[f"{key}_se"] = error
    return found


def result_of(rows: Sequence[Row], rates: Mapping[str, float]) -> Row:
    """Return what `study.json` holds."""
    told = {"validation_examples": rows[0]["valid_images"], "rates": dict(rates)}
    return {**told, "arms": by_epochs(rows), "runs": list(rows)}
