"""Reports of a run: rows in metrics.jsonl, tables and progress on the terminal, plots.

Of several processes the first one writes, and the others pass over it.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from jaxft.config.load import Phase, Settings
from jaxft.evaluation import baselines
from jaxft.recipe.lr_finder import LRCurve, Trials, rise_of
from jaxft.report import bottleneck
from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.training import best

HEADER = f"{'epoch':>5}  {'trn_loss':>9}  {'val_loss':>9}  {'accuracy':>8}  {'time':>7}"


class Console:
    """Output for a person: lines always, progress bars where the output is a terminal.

    Args:
      stream: where the first process writes; None says nothing at all.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if hosts.is_first() else None
        self._bars = self._stream is not None and self._stream.isatty()

    def say(self, text: str = "") -> None:
        """Print a line, at once."""
        if self._stream is not None:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    def bar(self, total: int, what: str, unit: str = "img", done: int = 0) -> tqdm:
        """A progress bar with rate and time left; invisible where there is no terminal."""
        return tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            leave=False,
            disable=not self._bars,
            dynamic_ncols=True,
            file=self._stream or sys.stdout,
        )


@hosts.first_only
def write_json(path: AnyPath, data: Any) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never half of one."""
    content = json.dumps(data, indent=2) + "\n"
    paths.write(path, lambda file: file.write(content.encode()))


@hosts.first_only
def append_row(path: AnyPath, row: Mapping[str, Any]) -> None:
    """Add a row to a JSON-lines file; an object can't be added to, and is written anew."""
    if paths.is_remote(path):
        write_rows(path, [*read_rows(path), row])
        return
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path: AnyPath) -> list[dict[str, Any]]:
    """The whole rows of a JSON-lines file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in paths.read(path).decode().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def rewind_rows(path: AnyPath, count: int) -> None:
    """Keep the first `count` rows, those that the checkpoint being resumed knows of."""
    write_rows(path, read_rows(path)[:count])


@hosts.first_only
def write_rows(path: AnyPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file by one of these rows."""
    content = "".join(json.dumps(row) + "\n" for row in rows)
    paths.write(path, lambda file: file.write(content.encode()))


def phases_table(settings: Settings, steps_per_epoch: int) -> str:
    """Table of what will happen, a line a phase."""
    head = f"{'phase':<16} {'trains (x rate)':<32} {'inputs':<10} {'lr':<9} schedule"
    lines = [head, "-" * len(head)]
    several = len({phase.image_size for phase in settings.phases}) > 1
    for phase in settings.phases:
        trains = ", ".join(f"{group} {rate:.3g}" for group, rate in phase.groups.items())
        pixels = f"{phase.image_size} px, " if several else ""
        lines.append(
            f"{phase.name:<16} {trains:<32} {phase.inputs:<10} {phase.lr!s:<9} "
            f"{pixels}{_words(phase)}"
        )
    lines.append(f"{steps_per_epoch} steps an epoch, {settings.data.batch_size} images a step")
    return "\n".join(lines)


def _words(phase: Phase) -> str:
    warm = f", warm-up of {_count(phase.warmup_epochs, 'epoch')}" if phase.warmup_epochs else ""
    if phase.schedule != "sgdr":
        return f"{phase.schedule}, {_count(phase.epochs, 'epoch')}{warm}"
    lengths = " + ".join(map(str, phase.cycle_lengths))
    until = "until over-fitting, at most " if phase.until_overfit else ""
    return f"sgdr, {until}cycles of {lengths} epochs{warm}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def epoch_line(row: Mapping[str, Any]) -> str:
    """A row of the familiar table."""
    waiting = row["input_wait"]
    note = f"  (balanced {row['balanced_accuracy']:.4f})" if "balanced_accuracy" in row else ""
    if row.get("best"):
        note += "  best so far"
    if waiting > bottleneck.WORTH_TELLING:
        note += f"  (waited for images {waiting:.0%} of the time)"
    return (
        f"{row['epoch']:>5}  {row['trn_loss']:>9.4f}  {row['val_loss']:>9.4f}  "
        f"{row['accuracy']:>8.4f}  {clock(row['seconds']):>7}{note}"
    )


def clock(seconds: float) -> str:
    """1:02:03, 2:03 or 4.5s."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def rules_table(curve: LRCurve) -> str:
    """Every rule's rate with its reason; the chosen one is marked."""
    lines = [f"  {'rule':<17}{'lr':>10}  reason"]
    for name, (lr, reason) in curve.rules.items():
        rate = "-" if lr is None else f"{lr:.2e}"
        mark = "*" if name == curve.rule else " "
        lines.append(f"{mark} {name:<17}{rate:>10}  {reason}")
    return "\n".join(lines)


def curve_json(curve: LRCurve) -> dict[str, Any]:
    """An LR curve as `lr_find/PHASE.json` holds it."""
    return {
        "lr": curve.lr,
        "rule": curve.rule,
        "reason": curve.reason,
        "rules": {name: {"lr": lr, "reason": why} for name, (lr, why) in curve.rules.items()},
        "rates": curve.rates.tolist(),
        "losses": curve.losses.tolist(),
        "unmoved": curve.unmoved.tolist(),
        "trend": curve.trend.tolist(),
        "error": curve.error.tolist(),
        "trials": None if curve.trials is None else _trials_json(curve.trials),
    }


def _trials_json(trials: Trials) -> dict[str, list[float | None]]:
    """Rates and losses of trials; JSON has no infinity, so that a diverged one is null."""
    losses = [float(loss) if math.isfinite(loss) else None for loss in trials.losses]
    return {"rates": trials.rates.tolist(), "losses": losses}


@hosts.first_only
def plot_curve(curve: LRCurve, title: str, path: AnyPath) -> None:
    """Paired loss against learning rate, with every rule's choice."""
    if curve.trials is None:
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
    else:
        figure = Figure(figsize=(7, 6), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _plot_trials(below, curve.trials, curve.lr)
    axes.axhline(0, color="0.6", lw=0.8)
    axes.plot(curve.rates, curve.paired, ".", color="0.75", label="each step")
    axes.plot(curve.rates, curve.trend, color="C0", label="trend, 2 standard errors")
    band = (curve.trend - 2 * curve.error, curve.trend + 2 * curve.error)
    axes.fill_between(curve.rates, *band, color="C0", alpha=0.2, lw=0)
    for number, (name, (lr, _)) in enumerate(curve.rules.items()):
        if lr is not None:
            chosen = name == curve.rule
            label = f"{name} {lr:.1e}" + (" (chosen)" if chosen else "")
            style, width = ("-", 2.0) if chosen else (":", 1.2)
            axes.axvline(lr, color=f"C{number + 1}", ls=style, lw=width, label=label)
    lowest = int(curve.trend.argmin())
    low, high = float(band[0][lowest]), float(band[1][: lowest + 1].max())
    if curve.rule == "rise":
        high = max(high, rise_of(curve.unmoved))
    room = max(high - low, 1e-3)
    figure.axes[-1].set(xlabel="learning rate")
    axes.set(
        xscale="log",
        ylabel="training loss, less that at rest",
        ylim=(low - 0.2 * room, high + 0.8 * room),
        title=title,
    )
    axes.legend(fontsize=8)
    save_figure(figure, path)


def _plot_trials(axes: Any, trials: Trials, lr: float) -> None:
    """Validation loss against the rate that a phase was tried at."""
    axes.plot(trials.rates, trials.losses, "o-", ms=4, label="validation loss of a trial")
    axes.axvline(lr, color="C1", lw=2.0)
    lowest = max(float(trials.losses.min()), 1e-6)
    axes.set(ylabel="validation loss", ylim=(0.95 * lowest, 1.5 * lowest))
    axes.legend(fontsize=8)


@hosts.first_only
def plot_losses(rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], path: AnyPath) -> None:
    """Training and validation loss, accuracy and learning rate over the epochs of all phases.

    Args:
      rows: of metrics.jsonl.
      kept: the epoch whose weights are kept, as `summary.json` has it.
      path: of the picture.
    """
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    x = range(1, len(rows) + 1)
    above.plot(x, [row["trn_loss"] for row in rows], "o-", ms=3, label="training")
    above.plot(x, [row["val_loss"] for row in rows], "o-", ms=3, label="validation")
    above.set(ylabel="loss", yscale="log")
    accuracies = [row["accuracy"] for row in rows]
    middle.plot(x, accuracies, "o-", ms=3, color="C2")
    _mark_kept(rows, kept, above, middle)
    middle.set(ylabel="accuracy")
    for group in ("early", "late", "head"):
        rates = [row["lr"].get(group, float("nan")) for row in rows]
        below.plot(x, rates, "o-", ms=3, label=group)
    below.set(ylabel="highest lr", yscale="log", xlabel="epoch of the run")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.legend(fontsize=8)
    for axes in (above, middle, below):
        axes.grid(alpha=0.3)
    _mark_phases(rows, (above, middle, below))
    save_figure(figure, path)


def save_figure(figure: Figure, path: AnyPath) -> None:
    """Write a plot, in the format that the file's name tells (PNG without one)."""
    kind = path.suffix[1:] or "png"
    paths.write(path, lambda file: figure.savefig(file, dpi=110, format=kind))


def _mark_kept(
    rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], losses: Axes, accuracies: Axes
) -> None:
    """A star at the epoch whose weights are kept, with its numbers."""
    place = [(row["phase"], row["epoch"]) for row in rows].index((kept["phase"], kept["epoch"])) + 1
    for axes, key in ((losses, "val_loss"), (accuracies, "accuracy")):
        label = f"kept: {kept[key]:.4f} ({best.in_words(kept)})"
        axes.plot(place, kept[key], "*", ms=11, color="C3", label=label, zorder=3)
        axes.axvline(place, color="C3", lw=0.8, ls=":")
        axes.legend(fontsize=8)


def _mark_phases(rows: Sequence[Mapping[str, Any]], panels: Sequence[Axes]) -> None:
    """A line where each phase begins; names on two levels, so that short phases stay legible."""
    names = [row["phase"] for row in rows]
    begins = [i for i in range(len(rows)) if i == 0 or names[i - 1] != names[i]]
    for number, index in enumerate(begins):
        for axes in panels:
            axes.axvline(index + 0.5, color="0.6", lw=0.8)
        panels[0].text(
            index + 0.55,
            1.02 + 0.07 * (number % 2),
            names[index],
            fontsize=8,
            transform=panels[0].get_xaxis_transform(),
        )


def summary_text(summary: Mapping[str, Any], workdir: AnyPath) -> str:
    """The end of a run, in a few lines."""
    lines = [
        "",
        f"{'phase':<16} {'lr':>9}  {'epochs':>6}  {'best':>4}  {'val_loss':>8}  "
        f"{'accuracy':>8}  ended by",
    ]
    for phase in summary["phases"]:
        lines.append(
            f"{phase['name']:<16} {phase['lr']:>9.2e}  {phase['epochs']:>6}  "
            f"{phase['best_epoch']:>4}  {phase['val_loss']:>8.4f}  {phase['accuracy']:>8.4f}  "
            f"{phase['ended_by']}"
        )
    lines.append(
        f"final: accuracy {summary['accuracy']:.4f}, validation loss {summary['val_loss']:.4f} "
        f"({best.in_words(summary['best'])}, the best by {summary['best_by']}), "
        f"after {clock(summary['seconds'])}; everything is in {workdir}"
    )
    if simple := summary["baselines"]:
        lines.append(baselines.in_words(simple))
    if summary["advice"]:
        lines.append(summary["advice"])
    if found := summary.get("bottleneck"):
        lines.append(bottleneck.in_words(found))
    return "\n".join(lines)
