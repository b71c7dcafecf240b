"""Averages of the weights at the ends of cycles, judged beside a run's best epoch.

- SWA, the plain average of all kept ends (Izmailov, Podoprikhin, Garipov, Vetrov and Wilson,
  Averaging Weights Leads to Wider Optima and Better Generalization, 2018).
- The greedy soup: from the best end on, each next one joins if the average's validation figures get
  no worse (Wortsman et al., Model soups, 2022). It chooses by the images that judge it.
- The snapshot ensemble, the mean of the ends' probabilities, which is told but never kept: it is no
  one set of weights.

Averages get BatchNorm statistics of their own (rebase.py); so does the last end, to compare with.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxft.devices import sharding
from jaxft.evaluation import beside
from jaxft.evaluation.metrics import Evaluation
from jaxft.materials.materials import Materials
from jaxft.materials.reading import at_size
from jaxft.models.variables import Weights
from jaxft.recipe import best_epoch
from jaxft.report import kept as report
from jaxft.runtime.paths import AnyPath
from jaxft.training import cycle_ends
from jaxft.training.cycle_ends import Kept
from jaxft.training.loop import evaluate_weights
from jaxft.training.phase_spec import make_spec
from jaxft.training.rebase import make_measured
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.kept_weights import End
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Best, Snapshot, pack

Evaluate = Callable[[Weights], Evaluation]


class Average(NamedTuple):
    """Averaged weights on the host, the ends they come from, and how they do."""

    name: str
    ends: tuple[End, ...]
    weights: Weights
    found: Evaluation


def settle(
    materials: Materials,
    cursor: Cursor,
    progress: Snapshot,
    checkpoints: Checkpoints,
    workdir: AnyPath,
) -> Best:
    """Return what a run ends with: its best epoch, or an average of cycle ends that beats it.

    An average that does is the run's best from here on, in the cursor and in a checkpoint. Where
    no cycle ends are kept, or all has been settled before, nothing is done.

    Raises:
      Interrupted: a stop was requested.
    """
    settings, best, console = materials.settings, progress.best, materials.console
    if not settings.average_cycles or cursor.kept is not None:
        return best
    assert cursor.best is not None
    started = time.perf_counter()
    materials = at_size(materials, settings.phases[-1].image_size)
    kept = cycle_ends.read(materials, cursor, workdir, best.weights)
    for problem in kept.problems:
        console.say(f"warning: {problem}; it is left out of all averages")
    console.say(f"\njudging {report.counted(len(kept.ends))} beside the best epoch")

    def evaluate(weights: Weights) -> Evaluation:
        return evaluate_weights(materials, sharding.replicate(weights, materials.mesh))

    measured = _measured(materials, list(kept.ends))
    rows, winner = judge(kept, best.weights, settings.best_by, evaluate, measured)
    cursor.kept = {
        "rows": rows,
        "chosen": winner.name if winner else None,
        "left_out": kept.problems,
        "seconds": time.perf_counter() - started,
    }
    if winner is None:
        return best
    cursor.best = record(cursor.best, winner)
    best = Best(winner.weights, winner.found.losses, winner.found.probabilities)
    with cursor.saving():
        cursor.saves += 1
        last = sharding.fetch(progress.weights)
        checkpoints.save(cursor.saves, pack(Snapshot(last, best), cursor))
    return best


def _measured(materials: Materials, ends: Sequence[End]) -> Callable[[Weights], Weights]:
    """Return what gives averages of these ends their statistics, by the last one's phase."""
    if not ends:
        return lambda weights: weights
    phases = [phase.name for phase in materials.settings.phases]
    specs = {name: make_spec(materials, phases.index(name)) for name, _ in ends}
    training = frozenset[str]().union(*(spec.training for spec in specs.values()))
    spec = dataclasses.replace(specs[ends[-1].phase], image_size=materials.image_size)
    return make_measured(spec, materials, training)


def judge(
    kept: Kept,
    best: Weights,
    best_by: str,
    evaluate: Evaluate,
    measured: Callable[[Weights], Weights],
) -> tuple[list[dict[str, Any]], Average | None]:
    """Judge cycle ends, their averages and their ensemble beside the best epoch.

    Args:
      kept: cycle ends; fewer than two have no average.
      best: the best epoch's weights.
      best_by: as `config.best_by` says; it ranks what the greedy soup tries.
      evaluate: of weights on the host, on the validation images.
      measured: gives averaged weights the statistics that belong to them.

    Returns:
      A row of figures of each, the best epoch's first, and the average that beats it, if one does.
    """
    before = evaluate(best)
    singles = {end: evaluate(weights) for end, weights in kept.ends.items()}
    rows = [beside.row("best epoch", before)]
    rows += [beside.row(f"{end.phase}, epoch {end.epoch}", singles[end], before) for end in singles]
    if kept.raw is not None:
        rows.append(beside.row("the last of them, raw", evaluate(kept.raw), before))
    if len(singles) < 2:
        return rows, None
    # What an average gains by its new statistics alone, the last end gains by them, too.
    again = evaluate(measured([*kept.ends.values()][-1]))
    rows.append(beside.row("the last of them, remeasured", again, before))

    @cache
    def average(ends: tuple[End, ...]) -> tuple[Weights, Evaluation]:
        if len(ends) == 1:
            return kept.ends[ends[0]], singles[ends[0]]
        weights = measured(mean([kept.ends[end] for end in ends]))
        return weights, evaluate(weights)

    found = {
        "SWA": tuple(singles),
        "greedy soup": greedy(singles, best_by, lambda ends: average(ends)[1]),
    }
    averages = [
        Average(f"{kind} of {report.counted(len(ends))}", ends, *average(ends))
        for kind, ends in found.items()
    ]
    for each in averages:
        names = [end.name for end in each.ends]
        rows.append({**beside.row(each.name, each.found, before), "ends": names})
    together = beside.ensemble(list(singles.values()))
    rows.append(beside.row(f"ensemble of {report.counted(len(singles))}", together, before))
    return rows, winner_of(averages, before)


def mean(members: Sequence[Weights]) -> Weights:
    """Average weights on the host, computed in float64."""

    def average(*leaves: np.ndarray) -> np.ndarray:
        total = np.zeros(leaves[0].shape)
        for leaf in leaves:
            total += leaf
        return (total / len(leaves)).astype(leaves[0].dtype)

    averaged: Weights = jax.tree.map(average, *members)
    return averaged


def greedy(
    singles: Mapping[End, Evaluation],
    best_by: str,
    average: Callable[[tuple[End, ...]], Evaluation],
) -> tuple[End, ...]:
    """Choose the ends of the greedy soup: from the best on, each that makes the average no worse.

    Args:
      singles: every end as it does alone.
      best_by: accuracy or val_loss, by which averages are compared; the other one breaks ties.
      average: evaluates the average of some of them, given in the order of `singles`.
    """

    def rank(found: Evaluation) -> tuple[float, float]:
        figures = {"accuracy": found.accuracy, "val_loss": found.val_loss}
        return best_epoch.rank(figures, best_by)

    order = sorted(singles, key=lambda end: rank(singles[end]), reverse=True)
    chosen: tuple[End, ...] = (order[0],)
    reached = rank(singles[order[0]])
    for end in order[1:]:
        tried = tuple(each for each in singles if each in (*chosen, end))
        found = rank(average(tried))
        if found >= reached:
            chosen, reached = tried, found
    return chosen


def winner_of(averages: Sequence[Average], before: Evaluation) -> Average | None:
    """Return the average that beats the best epoch, None if none does.

    If several do, it is the first, unless a later one beats that by the same test. One of a single
    end is no average.
    """
    winner = None
    for each in averages:
        beaten = before if winner is None else winner.found
        if len(each.ends) > 1 and beside.wins(each.found, beaten):
            winner = each
    return winner


def record(best: Mapping[str, Any], winner: Average) -> dict[str, Any]:
    """Return an average as `best_epoch.record` returns an epoch; its place is its last end's.

    No training loss belongs to it: that of the best epoch stays.
    """
    phase, epoch = winner.ends[-1]
    measured = {"val_loss": winner.found.val_loss, "accuracy": winner.found.accuracy}
    return {**best, "phase": phase, "epoch": epoch, **measured, "average": winner.name}
