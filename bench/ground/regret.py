"""Regret of a rule's learning rate: the validation loss at it over the best of a grid of rates.

A grid holds what one part of the card ends with (its last epoch's validation loss, mean over
seeds) at rates set by hand. The loss at a found rate is read off it, linear in the rate's
logarithm, and at the nearest end beyond it: so the noise of one more run is not in it. The body's
grid begins with the head's best epoch, a whole run's with its last. `body+smooth` is the part
`body` of runs with the setting `smooth` added.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ground.paired import spread
from ground.settings import HEAD, RATES, part_of
from ground.tasks import HALVES, Task

FOUND = "default"  # the setting whose rates are judged
RULES = ("valley", "slide", "minimum", "steep")  # fastai's four
Results = Sequence[dict[str, Any]]


class Grid(NamedTuple):
    """Validation losses that a part of the card ends with, by rate, lowest rate first."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def regret(self, rate: float) -> float:
        """The loss at a rate over the grid's least, less 1."""
        loss = np.interp(np.log(rate), np.log(self.rates), self.losses)
        return float(loss) / min(self.losses) - 1


class Regret(NamedTuple):
    """A task's grid, the rates that the card finds, and the regret of each rule; None: no rate."""

    task: Task
    best: float
    found: list[float]
    rules: dict[str, float | None]


def grid_of(results: Results, task: str, part: str) -> Grid | None:
    """The grid of a task, over the seeds that have every rate that any has; None without cells."""
    losses: dict[float, dict[int, float]] = {}
    rate_of = {setting(part, rate): rate for rate in RATES}
    for result in results:
        rate = rate_of.get(result["setting"])
        if result["task"] == task and rate is not None:
            loss = result["rows"][-1]["val_loss"]
            loss = math.inf if loss is None or math.isnan(loss) else loss
            losses.setdefault(float(rate), {})[result["seed"]] = loss
    seeds = set.intersection(*map(set, losses.values())) if losses else set()
    if not seeds:
        return None
    rates = tuple(sorted(losses))
    return Grid(rates, tuple(float(np.mean([losses[r][s] for s in seeds])) for r in rates))


def whole(part: str) -> str:
    """The setting whose rates are judged: FOUND, and what is added to the part."""
    _, plus, added = part.partition("+")
    return f"{FOUND}{plus}{added}"


def setting(part: str, what: str) -> str:
    """The part's setting at a rate, or by `rules`: body_RATE+smooth of body+smooth."""
    name, plus, added = part.partition("+")
    return f"{name}_{what}{plus}{added}"


def regret_of(results: Results, task: Task, part: str) -> Regret | None:
    """Regret on a task, mean over seeds; None where no grid or no rate was computed."""
    grid = grid_of(results, task.name, part)
    ours = [r for r in results if (r["task"], r["setting"]) == (task.name, whole(part))]
    if grid is None or not ours:
        return None
    found = [list(r["rates"].values())[0 if part_of(part) == HEAD else -1] for r in ours]
    curves = [
        next(iter(r["by_rule"].values()))
        for r in results
        if (r["task"], r["setting"]) == (task.name, setting(part, "rules"))
    ]
    rules = {name: mean(grid, [curve[name] for curve in curves]) for name in RULES}
    best = grid.rates[int(np.argmin(grid.losses))]
    return Regret(task, best, found, {whole(part): mean(grid, found), **rules})


def mean(grid: Grid, rates: Iterable[float | None]) -> float | None:
    """Mean regret of the rates that were found; None where none was."""
    regrets = [grid.regret(rate) for rate in rates if rate is not None]
    return float(np.mean(regrets)) if regrets else None


def table(results: Results, tasks: Iterable[Task], part: str) -> str:
    """Markdown: a row a task, then each rule's median and worst by half."""
    regrets = [found for task in tasks if (found := regret_of(results, task, part))]
    if not regrets:
        return (
            f"no task has both a grid ({setting(part, 'RATE')}) and a rate found ({whole(part)})."
        )
    names = tuple(regrets[0].rules)
    lines = [
        f"| task | half | best of the grid | rates found | {' | '.join(names)} |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for found in regrets:
        cells = (f"{found.best:.1e}", spread(found.found), *(map(percent, found.rules.values())))
        lines.append(f"| {found.task.name} | {found.task.half} | {' | '.join(cells)} |")
    for half in HALVES:
        of_half = [found for found in regrets if found.task.half == half]
        lines += ["", *sentences(half, of_half, names)]
    return "\n".join(lines)


def sentences(half: str, regrets: Sequence[Regret], names: Iterable[str]) -> list[str]:
    """A half's result, a line a rule."""
    lines = []
    for name in names:
        known = [value for r in regrets if (value := r.rules[name]) is not None]
        if known:
            median, none = float(np.median(known)), len(regrets) - len(known)
            told = f"{percent(median)} at the median, {percent(max(known))} at worst"
            lines.append(f"{half}, {name}: {told}" + (f"; none on {none} tasks" if none else ""))
    return lines


def percent(value: float | None) -> str:
    """A regret as it is printed."""
    return "none" if value is None else f"{value:.1%}"
