"""`losses.png`: losses and accuracy over a run's epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxft.recipe import best_epoch
from jaxft.report.figure import save_figure
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath


@hosts.first_only
def plot_losses(rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], path: AnyPath) -> None:
    """Draw losses, accuracy and learning rates over the epochs of all phases.

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


def _mark_kept(
    rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], losses: Axes, accuracies: Axes
) -> None:
    """Draw a star at the epoch whose weights are kept, with its numbers."""
    place = [(row["phase"], row["epoch"]) for row in rows].index((kept["phase"], kept["epoch"])) + 1
    for axes, key in ((losses, "val_loss"), (accuracies, "accuracy")):
        label = f"kept: {kept[key]:.4f} ({best_epoch.in_words(kept)})"
        axes.plot(place, kept[key], "*", ms=11, color="C3", label=label, zorder=3)
        axes.axvline(place, color="C3", lw=0.8, ls=":")
        axes.legend(fontsize=8)


def _mark_phases(rows: Sequence[Mapping[str, Any]], panels: Sequence[Axes]) -> None:
    """Draw a line at the beginning of each phase, with names on two levels to stay legible."""
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
