"""The best epoch of a run: one criterion, across phases and image sizes."""

from collections.abc import Mapping
from typing import Any

KEPT = ("phase", "epoch", "trn_loss", "val_loss", "accuracy")


def better(row: Mapping[str, Any], best: Mapping[str, Any] | None, best_by: str) -> bool:
    """Tell whether an epoch beats the best one before it, or is the first.

    Args:
      row, best: with `val_loss` and `accuracy`; best is None if there is none yet.
      best_by: val_loss or accuracy, as `config.best_by` says; the other one breaks ties.
    """
    return best is None or rank(row, best_by) > rank(best, best_by)


def rank(row: Mapping[str, Any], best_by: str) -> tuple[float, float]:
    """Return a key that is higher for a better row; the arguments are as for `better`."""
    accuracy, fit = row["accuracy"], -row["val_loss"]
    return (accuracy, fit) if best_by == "accuracy" else (fit, accuracy)


def record(row: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """Return an epoch as the cursor and `summary.json` keep it, with the image size it had."""
    return {**{key: row[key] for key in KEPT}, "image_size": image_size}


def in_words(best: Mapping[str, Any]) -> str:
    """Name the phase and epoch that the weights come from, or the average that they are."""
    if best.get("average"):
        return str(best["average"])
    return f"{best['phase']}, epoch {best['epoch']}"
