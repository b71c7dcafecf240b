"""A dot plot of a comparison."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ground.paired import Comparison

COLOURS = {"decide": "tab:blue", "confirm": "tab:orange"}


def draw(comparisons: Sequence[Comparison], base: str, setting: str, file: Path) -> None:
    """A dot a task with two standard errors either way, in points, by half and size."""
    known = [c for c in comparisons if c.seeds]
    known.sort(key=lambda c: (c.task.half, c.difference.mean))
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.3 * len(known)), layout="constrained")
    axes.axvline(0, color="gray", linewidth=1)
    for half, colour in COLOURS.items():
        rows = [i for i, c in enumerate(known) if c.task.half == half]
        means = [100 * known[i].difference.mean for i in rows]
        errors = np.nan_to_num([200 * known[i].difference.error for i in rows])
        axes.errorbar(means, rows, xerr=errors, fmt="o", color=colour, capsize=3, label=half)
    names = [f"{c.task.name} ({'near' if c.task.near else 'far'})" for c in known]
    axes.set_yticks(range(len(known)), names)
    axes.set_xlabel(f"accuracy of {setting} less that of {base}, points; bars: 2 standard errors")
    axes.legend(loc="best")
    figure.savefig(file, dpi=110)
    plt.close(figure)
