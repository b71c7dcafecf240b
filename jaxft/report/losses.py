"""`losses.png`: losses and accuracy over a run's epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from jaxft.recipe import best_epoch
from jaxft.report import marks
from jaxft.report.figure import Picture, save_figure
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath


@hosts.first_only
def plot_losses(rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], path: AnyPath) -> None:
    """Draw a run's epochs into a file; the arguments are those of `draw`."""
    save_figure(draw(rows, kept), path)


def draw(rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]) -> Picture:
    """Draw losses, accuracy and learning rates over the epochs of all phases.

    Args:
      rows: of metrics.jsonl.
      kept: the epoch whose weights are kept, as `summary.json` has it.
    """
    figure = Picture(figsize=(8, 6.8), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    x = range(1, len(rows) + 1)
    above.plot(x, [row["trn_loss"] for row in rows], "o-", ms=3, label="training")
    above.plot(x, [row["val_loss"] for row in rows], "o-", ms=3, label="validation")
    above.set(ylabel="loss", yscale="log", xlim=(0.4, len(rows) + 0.6))
    middle.plot(x, [row["accuracy"] for row in rows], "o-", ms=3, color="C2")
    middle.set(ylabel="accuracy")
    for group in ("early", "late", "head"):
        rates = [row["lr"].get(group, float("nan")) for row in rows]
        below.plot(x, rates, "o-", ms=3, label=group)
    below.set(ylabel="highest lr", yscale="log", xlabel="epoch of the run")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    place = marks.row_of(rows, kept) + 1
    for axes, key in ((above, "val_loss"), (middle, "accuracy")):
        if kept[key] is None:  # it was not finite
            continue
        label = f"kept: {kept[key]:.4f} ({best_epoch.in_words(kept)})"
        axes.plot(place, kept[key], "*", ms=11, color="C3", label=label, zorder=3)
    marks.draw(figure, rows, [number - 0.5 for number in x], place)
    for axes, corner in ((above, "upper"), (middle, "lower"), (below, "upper")):
        axes.legend(fontsize=marks.FONT, loc=f"{corner} right")  # where the curves end seldom
    return figure
