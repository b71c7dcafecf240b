"""The best epoch of a run: one criterion, across phases and image sizes, and what to try next."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.config.load import Phase, Settings
from jaxft.training.step import Weights

KEPT = ("phase", "epoch", "trn_loss", "val_loss", "accuracy")


class Best(NamedTuple):
    """The best weights so far, on the host, and the validation loss of every example."""

    weights: Weights
    losses: Float[np.ndarray, " examples"]


def better(row: Mapping[str, Any], best: Mapping[str, Any] | None, best_by: str) -> bool:
    """Tell whether an epoch beats the best one before it, None: there is none.

    Args:
      row, best: with `val_loss` and `accuracy`.
      best_by: val_loss or accuracy, as `config.best_by` says; the other one breaks ties.
    """
    return best is None or _rank(row, best_by) > _rank(best, best_by)


def _rank(row: Mapping[str, Any], best_by: str) -> tuple[float, float]:
    accuracy, fit = row["accuracy"], -row["val_loss"]
    return (accuracy, fit) if best_by == "accuracy" else (fit, accuracy)


def record(row: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """An epoch as the cursor and `summary.json` keep it, with the size that it was measured at."""
    return {**{key: row[key] for key in KEPT}, "image_size": image_size}


def in_words(best: Mapping[str, Any]) -> str:
    """Name the phase and epoch that the weights come from."""
    return f"{best['phase']}, epoch {best['epoch']}"


def advice(
    settings: Settings, best: Mapping[str, Any] | None, phases: Sequence[Mapping[str, Any]]
) -> str | None:
    """One sentence where training the body did not beat the head; None where it did.

    Args:
      settings: of the run.
      best: the run's best epoch.
      phases: the finished ones, as `summary.json` has them.
    """
    trains_body = {phase.name: phase.trains_body for phase in settings.phases}
    full = [told for told in phases if trains_body[told["name"]]]
    if best is None or not full or trains_body[best["phase"]]:
        return None
    last = full[-1]
    index = [phase.name for phase in settings.phases].index(last["name"])
    return (
        f"Fine-tuning the body did not beat the head: {last['name']} reached accuracy "
        f"{last['accuracy']:.4f} and validation loss {last['val_loss']:.4f}, so the weights of "
        f"{best['phase']} are kept; try {_remedy(settings, index, last)}."
    )


def _remedy(settings: Settings, index: int, told: Mapping[str, Any]) -> str:
    """Name what helped on small folders (bench/README.md), with the keys that ask for it."""
    phase, key = settings.phases[index], f"--config.phases[{index}]"
    untried = []
    if phase.bn != "rebased":
        untried.append(f"{key}.bn=rebased")
    if settings.optimizer.name != "adamw":
        untried.append(f"--config.optimizer.name=adamw {key}.lr=1e-3")
    if untried:
        return f"{' '.join(untried)} in a new --workdir"
    if told["best_epoch"] == told["epochs"] - 1 and told["ended_by"] != "overfit":
        return f"more epochs ({key}.{_length(phase)}), for its last one was its best"
    return f"a lower rate ({key}.lr={told['lr'] / 3:.1e}) or more training images"


def _length(phase: Phase) -> str:
    """The key that makes a phase longer."""
    if phase.schedule != "sgdr":
        return f"epochs={2 * phase.epochs}"
    count = len(phase.cycle_lengths) + 1
    return f"{'max_cycles' if phase.until_overfit else 'cycles'}={count}"
