"""A probe in words and as a picture: the ranking of bodies, and what follows from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from jaxft.report.figure import save_figure
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.table import table_lines

LEVEL = 0.05  # of p


def text(result: Mapping[str, Any], folder: AnyPath) -> str:
    """Return the ranking as a table, and what follows from it."""
    rows = result["bodies"]
    columns = {
        "rank": ">4",
        "body": f"<{max(len(name(row)) for row in rows)}",
        "accuracy (95%)": ">22",
        "points above the best (p)": ">30",
        "val_loss": ">17",
        "params M": ">8",
        "GFLOPs": ">6",
        "images/s": ">8",
    }
    lines = table_lines(columns, map(_cells, rows))
    lines += _notes(result)
    lines += [f"failed: {body}: {why}" for body, why in result["failed"].items()]
    if result["failed"]:
        lines.append("the same command tries again what failed")
    lines.append(f"the best as a config: jaxft train --config={folder}/best.py")
    return "\n".join(lines)


def name(row: Mapping[str, Any]) -> str:
    """Return the body of a row as the command line has it."""
    return f"{row['model']}:{row['weights']}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    low, high = row["accuracy_interval"]
    above = row["above_best"]
    below, beyond = (100 * end for end in above["accuracy_interval"])
    difference = (
        f"{100 * above['accuracy']:+.1f} ({below:+.1f} to {beyond:+.1f}) p={above['p']:.2g}"
    )
    return [
        str(row["rank"]),
        name(row),
        f"{row['accuracy']:.4f} ({low:.3f}-{high:.3f})",
        "" if row["rank"] == 1 else difference,
        f"{row['val_loss']:.4f} +- {row['val_loss_se']:.4f}",
        f"{row['parameters'] / 1e6:.2f}",
        "" if row["gflops"] is None else f"{row['gflops']:.2f}",
        f"{row['images_per_second']:.0f}",
    ]


def _notes(result: Mapping[str, Any]) -> list[str]:
    rows, count = result["bodies"], result["validation_examples"]
    near = [row for row in rows[1:] if row["above_best"]["p"] >= LEVEL]
    notes = [
        f"{count} validation images; +-: a standard error; images/s: features of images that are "
        "in memory"
    ]
    if near:
        names = ", ".join(map(name, near))
        notes.append(f"not told from the best by these images (p >= {LEVEL}): {names}")
        fastest = max([rows[0], *near], key=lambda row: float(row["images_per_second"]))
        if fastest is not rows[0]:
            notes.append(f"the fastest of these and the best: {name(fastest)}")
    return notes


@hosts.first_only
def plot(result: Mapping[str, Any], path: AnyPath) -> None:
    """Draw the accuracy of every body, with its 95% interval, against its speed."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes, rows = figure.subplots(), result["bodies"]
    for number, row in enumerate(rows):
        accuracy, speed, colour = row["accuracy"], row["images_per_second"], f"C{number % 10}"
        low, high = row["accuracy_interval"]
        reach = [[accuracy - low], [high - accuracy]]
        label = f"{row['rank']}. {name(row)}, {row['parameters'] / 1e6:.1f} M"
        axes.errorbar(speed, accuracy, reach, fmt="o", capsize=4, color=colour, label=label)
        axes.annotate(
            str(row["rank"]), (speed, accuracy), (6, 4), textcoords="offset points", fontsize=8
        )
    axes.set(xscale="log", xlabel="images/s (features)", xlim=_limits(rows))
    axes.set_ylabel(f"accuracy of a linear head, {result['validation_examples']} images")
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.7)))
    axes.tick_params(which="minor", labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)


def _limits(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    speeds = [float(row["images_per_second"]) for row in rows]
    return 0.7 * min(speeds), 1.4 * max(speeds)
