"""A run in words: its phases, a line per epoch, its end."""

from collections.abc import Mapping
from typing import Any

from jaxft.config.phase import Phase
from jaxft.config.settings import Settings
from jaxft.evaluation import baselines
from jaxft.recipe import best_epoch
from jaxft.report import bottleneck, kept, readiness
from jaxft.runtime.clock import clock
from jaxft.runtime.lines import folded
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.table import table_lines

PHASE_COLUMNS = {"phase": "<16", "trains (x rate)": "<33", "inputs": "<10", "lr": ""}
HEADER = f"{'epoch':>5}  {'trn_loss':>9}  {'val_loss':>9}  {'accuracy':>8}  {'time':>7}"


def phases_table(settings: Settings, steps_per_epoch: int) -> str:
    """Return a table of the phases to come: a line per phase, and below it how long it lasts."""
    rows, below = [], []
    several = len({phase.image_size for phase in settings.phases}) > 1
    for phase in settings.phases:
        trains = ", ".join(f"{group} {rate:.3g}" for group, rate in phase.groups.items())
        pixels = f"{phase.image_size} px, " if several else ""
        rows.append((phase.name, trains, phase.inputs, str(phase.lr)))
        below.append(folded(f"{'':<17}{pixels}{_words(phase)}", 0))
    head, rule, *lines = table_lines(PHASE_COLUMNS, rows)
    pairs = [text for pair in zip(lines, below, strict=True) for text in pair]
    end = f"{steps_per_epoch} steps per epoch, {settings.data.batch_size} images per step"
    return "\n".join([head, rule, *pairs, end])


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
    """Return an epoch's line of the table under HEADER."""
    waiting = row["input_wait"]
    note = f"  (balanced {row['balanced_accuracy']:.4f})" if "balanced_accuracy" in row else ""
    if row.get("best"):
        note += "  best so far"
    if waiting > bottleneck.WORTH_TELLING:
        note += f"\n{'':>7}(waited for images {waiting:.0%} of the time)"
    return (
        f"{row['epoch']:>5}  {row['trn_loss']:>9.4f}  {row['val_loss']:>9.4f}  "
        f"{row['accuracy']:>8.4f}  {clock(row['seconds']):>7}{note}"
    )


def summary_text(summary: Mapping[str, Any], workdir: AnyPath) -> str:
    """Tell the end of a run in a few lines."""
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
    if summary.get("kept"):
        lines += ["", *kept.lines(summary["kept"]), ""]
    lines.append(
        f"final: accuracy {summary['accuracy']:.4f}, validation loss {summary['val_loss']:.4f} "
        f"({best_epoch.in_words(summary['best'])}, the best by {summary['best_by']}), "
        f"after {clock(summary['seconds'])}; everything is in {workdir}"
    )
    if simple := summary["baselines"]:
        lines.append(baselines.in_words(simple))
    lines += readiness.verdicts(summary["phases"])
    if summary["advice"]:
        lines.append(summary["advice"])
    if found := summary.get("bottleneck"):
        lines.append(bottleneck.in_words(found))
    return "\n".join(lines)
