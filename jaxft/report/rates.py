"""`rates.png`: the learning rate of each layer group at every step of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft.config.phase import Phase
from jaxft.models.variables import GROUPS
from jaxft.report import marks
from jaxft.report.figure import Picture, save_figure
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath


def rates_of(
    phases: Sequence[Phase], told: Sequence[Mapping[str, Any]], steps_per_epoch: int
) -> dict[str, Float[np.ndarray, " steps"]]:
    """Return the rate of each group at every step of a run, NaN where it is frozen.

    Args:
      phases: of the config.
      told: of `summary.json`: the rate `lr` that each phase ended with, its `epochs`, and the steps
        from which on it was halved, `rewinds`, if there are any.
      steps_per_epoch: in every phase.
    """
    parts: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
    for phase, end in zip(phases, told, strict=True):
        steps = np.arange(end["epochs"] * steps_per_epoch)
        rates = phase.rates(float(end["lr"]), steps_per_epoch)(steps)
        for halved_from in end.get("rewinds", ()):
            rates = np.where(steps < halved_from, 2 * rates, rates)
        for group, of_group in parts.items():
            of_group.append(rates * phase.groups.get(group, np.nan))
    found = {group: np.concatenate(of_group) for group, of_group in parts.items()}
    return {group: rates for group, rates in found.items() if not np.isnan(rates).all()}


@hosts.first_only
def plot_rates(
    rates: Mapping[str, Float[np.ndarray, " steps"]],
    rows: Sequence[Mapping[str, Any]],
    kept: Mapping[str, Any],
    path: AnyPath,
) -> None:
    """Draw a run's rates into a file; the arguments are those of `draw`."""
    save_figure(draw(rates, rows, kept), path)


def draw(
    rates: Mapping[str, Float[np.ndarray, " steps"]],
    rows: Sequence[Mapping[str, Any]],
    kept: Mapping[str, Any],
) -> Picture:
    """Draw the rate of each group over the steps of all phases.

    Args:
      rates: as from `rates_of`.
      rows: of metrics.jsonl.
      kept: the epoch whose weights are kept, as `summary.json` has it.
    """
    figure = Picture(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    ends = [row["global_step"] for row in rows]
    for group, values in rates.items():
        color = f"C{GROUPS.index(group)}"
        axes.plot(np.arange(len(values)), values, color=color, lw=1.2, label=group)
    axes.set(ylabel="learning rate", yscale="log", xlabel="step of the run", xlim=(0, ends[-1]))
    marks.draw(figure, rows, [0, *ends[:-1]], ends[marks.row_of(rows, kept)])
    axes.legend(fontsize=marks.FONT, loc="upper right")
    return figure
