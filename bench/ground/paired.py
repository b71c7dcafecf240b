"""Statistics of two settings on the same tasks and seeds."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ground.tasks import HALVES, Task


class Estimate(NamedTuple):
    """A mean and its standard error; the latter is NaN for fewer than two values."""

    mean: float
    error: float

    @property
    def t(self) -> float:
        """The mean in standard errors; infinite where all values are the same and not zero."""
        if self.error == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / self.error


class Comparison(NamedTuple):
    """A setting less the base on one task, paired by seed.

    Attributes:
      seeds: those where both have a result.
      base, setting: mean accuracies that runs end with.
      difference: of these accuracies.
      head_gain: what the setting's runs end with, less the best epoch of their head phases.
      jump: mean ratio of the training loss of the first steps after the unfreezing to that of the
        head's last epoch, of the setting; NaN without a full phase.
      val_loss: mean ratio of the validation losses that runs end with.
      seconds: mean ratio of CPU seconds.
    """

    task: Task
    seeds: tuple[int, ...]
    base: float
    setting: float
    difference: Estimate
    head_gain: Estimate
    jump: float
    val_loss: float
    seconds: float


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard error of the mean; NaN where there are none."""
    if not values:
        return Estimate(math.nan, math.nan)
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(np.mean(values)), float(error))


def compare(results: Iterable[dict[str, Any]], task: Task, base: str, setting: str) -> Comparison:
    """Both settings on a task, seed by seed; a cell without its partner does not count."""
    of = {(r["setting"], r["seed"]): r for r in results if r["task"] == task.name}
    seeds = sorted(seed for name, seed in of if name == setting and (base, seed) in of)
    ours, theirs = ([of[name, seed] for seed in seeds] for name in (setting, base))
    pairs = list(zip(ours, theirs, strict=True))
    jumps = [loss_jump(r) for r in ours if r["full_first_trn_loss"] and r["head_last_trn_loss"]]
    gains = [r["accuracy"] - r["head"]["accuracy"] for r in ours if r["head"]]
    return Comparison(
        task,
        tuple(seeds),
        estimate([r["accuracy"] for r in theirs]).mean,
        estimate([r["accuracy"] for r in ours]).mean,
        estimate([a["accuracy"] - b["accuracy"] for a, b in pairs]),
        estimate(gains),
        estimate(jumps).mean,
        estimate([a["val_loss"] / b["val_loss"] for a, b in pairs]).mean,
        estimate([a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs]).mean,
    )


def as_heads(results: Iterable[dict[str, Any]], setting: str, name: str) -> list[dict[str, Any]]:
    """The best epochs of a setting's head phases, as if they were results of a setting `name`."""
    return [
        {**r, **r["head"], "setting": name, "cpu_seconds": math.nan}
        for r in results
        if r["setting"] == setting and r["head"]
    ]


def as_baselines(results: Iterable[dict[str, Any]], setting: str) -> list[dict[str, Any]]:
    """The simple classifiers on the features of a setting's runs, as results of their own names."""
    return [
        {
            **r,
            "setting": name,
            "accuracy": accuracy,
            "val_loss": math.nan,
            "head": None,
            "cpu_seconds": math.nan,
        }
        for r in results
        if r["setting"] == setting
        for name, accuracy in r.get("baselines", {}).items()
    ]


def loss_jump(result: dict[str, Any]) -> float:
    """Training loss of the first steps of the full phase over that of the head's last epoch."""
    return result["full_first_trn_loss"] / result["head_last_trn_loss"]


class Overall(NamedTuple):
    """A setting less the base over tasks, each task counted once.

    Attributes:
      difference: over the tasks' means; its error has the spread between tasks in it.
      wins, losses: tasks where the difference is beyond two standard errors over seeds.
      tasks: those that have a result of both.
      jumps: the tasks' mean ratios of the loss after the unfreezing to the one before.
      errors: mean ratio of their errors.
      seconds: median over tasks of the ratio of CPU seconds.
    """

    difference: Estimate
    wins: int
    losses: int
    tasks: int
    jumps: list[float]
    errors: float
    seconds: float


def overall(comparisons: Sequence[Comparison]) -> Overall:
    """All tasks of a list that have a result of both."""
    known = [c for c in comparisons if c.seeds]
    return Overall(
        estimate([c.difference.mean for c in known]),
        sum(c.difference.t > 2 for c in known),
        sum(c.difference.t < -2 for c in known),
        len(known),
        [c.jump for c in known if not math.isnan(c.jump)],
        estimate([(1 - c.setting) / (1 - c.base) for c in known if c.base < 1]).mean,
        float(np.median([c.seconds for c in known])) if known else math.nan,
    )


def table(comparisons: Sequence[Comparison], base: str, setting: str) -> str:
    """Markdown: a row a task, then a sentence for each half and for all."""
    lines = [
        f"| task | half | seeds | {base} | {setting} | difference | over its head | jump "
        "| loss | CPU |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(row(c) for c in comparisons if c.seeds),
        "",
    ]
    for half in HALVES:
        lines.append(sentence(half, [c for c in comparisons if c.task.half == half]))
    lines.append(sentence("all", comparisons))
    return "\n".join(lines)


def summary(results: Sequence[dict[str, Any]], tasks: Iterable[Task], setting: str) -> str:
    """Markdown: what each task's runs of a setting had and gained, by what, and what they took.

    Means over seeds, with the standard error of what the runs end with; of rates the range. Runs
    without a head's phase and a body's are left out.
    """
    lines = [
        "| task | seeds | logistic regression | nearest neighbours | its head | end | jump "
        "| rates of head | of body | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task in tasks:
        ours = [r for r in results if (r["task"], r["setting"]) == (task.name, setting)]
        if ours and all(r["full"] and r["head"] for r in ours):
            lines.append(summary_row(task.name, ours))
    return "\n".join(lines)


def summary_row(name: str, ours: Sequence[dict[str, Any]]) -> str:
    """One task's row of `summary`."""
    end = estimate([r["accuracy"] for r in ours])
    error = "" if math.isnan(end.error) else f" +- {end.error:.3f}"
    means = (
        estimate([r["baselines"][simple] for r in ours if r.get("baselines")]).mean
        for simple in ("logistic_regression", "nearest_neighbours")
    )
    phases = list(ours[0]["rates"])
    cells = (
        name, str(len(ours)), *(f"{mean:.3f}" for mean in means),
        f"{estimate([r['head']['accuracy'] for r in ours]).mean:.3f}",
        f"**{end.mean:.3f}**{error}",
        ", ".join(f"{loss_jump(r):.2f}" for r in ours),
        *(spread([r["rates"][phase] for r in ours]) for phase in (phases[0], phases[-1])),
        f"{estimate([r['cpu_seconds'] for r in ours]).mean:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def spread(rates: Sequence[float]) -> str:
    """The lowest and the highest, once where they are the same."""
    return " to ".join(dict.fromkeys(f"{rate:.1e}" for rate in (min(rates), max(rates))))


def revisions(results: Iterable[dict[str, Any]], setting: str) -> str:
    """A sentence with the commits that a setting's results were computed at."""
    found = sorted({r["revision"] for r in results if r["setting"] == setting})
    return f"{setting} was computed at {', '.join(found) or 'no revision'}."


def row(c: Comparison) -> str:
    """One task's row."""
    cells = (
        c.task.name, c.task.half, str(len(c.seeds)), f"{c.base:.4f}", f"{c.setting:.4f}",
        signed(c.difference), signed(c.head_gain), f"{c.jump:.2f}x", f"{c.val_loss:.2f}x",
        f"{c.seconds:.2f}x",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def signed(value: Estimate) -> str:
    """A difference with its standard error, if there is one."""
    error = "" if math.isnan(value.error) else f" +- {value.error:.4f}"
    return f"{value.mean:+.4f}{error}"


def sentence(name: str, comparisons: Sequence[Comparison]) -> str:
    """A half's result."""
    found = overall(comparisons)
    if not found.tasks:
        return f"{name}: no task has results of both."
    mean = found.difference
    t = "" if math.isnan(mean.t) else f", t = {mean.t:.2f}"
    seconds = jump = ""
    if not math.isnan(found.seconds):
        seconds = f", {found.seconds:.2f} times the CPU seconds at the median"
    if found.jumps:
        median, worst = np.median(found.jumps), max(found.jumps)
        jump = f" Jump: {median:.2f}x at the median, {worst:.2f}x at worst."
    return (
        f"{name}: {signed(mean)} over {found.tasks} tasks{t}; beyond two standard errors better on "
        f"{found.wins}, worse on {found.losses}. {found.errors:.2f} times the errors on average"
        f"{seconds}.{jump}"
    )
