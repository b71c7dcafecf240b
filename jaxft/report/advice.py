"""Advice at a run's end, if training the body did not beat the head."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxft.config.phase import Phase, path_of
from jaxft.config.settings import Settings


def advice(
    settings: Settings, best: Mapping[str, Any] | None, phases: Sequence[Mapping[str, Any]]
) -> str | None:
    """Advice in two sentences if training the body did not beat the head; None if it did.

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
        f"{last['accuracy']:.4f} and validation loss {last['val_loss']:.4f}; keeping "
        f"{best['phase']}'s weights. Try {_remedy(settings, index, last)}."
    )


def _remedy(settings: Settings, index: int, told: Mapping[str, Any]) -> str:
    """Name remedies that helped on small folders (bench/README.md), with their keys."""
    phase, key = settings.phases[index], f"--config.{path_of(settings.phases, index)}"
    untried = []
    if phase.bn != "rebased":
        untried.append(f"{key}.bn=rebased")
    if settings.optimizer.name != "adamw":
        untried.append(f"--config.optimizer.name=adamw {key}.lr=1e-3")
    if untried:
        return f"{' '.join(untried)} in a new --workdir"
    if told["best_epoch"] == told["epochs"] - 1 and told["ended_by"] != "overfit":
        return f"more epochs ({key}.{_length(phase)}), since its last one was its best"
    return f"a lower rate ({key}.lr={told['lr'] / 3:.1e}) or more training images"


def _length(phase: Phase) -> str:
    """The key that makes a phase longer."""
    if phase.schedule != "sgdr":
        return f"epochs={2 * phase.epochs}"
    return f"{phase.counted_by}={phase.most_cycles + 1}"
