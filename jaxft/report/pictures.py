"""Pictures of a run that has ended: `losses.png` and `rates.png`."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxft.config.phase import Phase
from jaxft.report.losses import plot_losses
from jaxft.report.rates import plot_rates, rates_of
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_rows


def draw(
    workdir: AnyPath, summary: Mapping[str, Any], phases: Sequence[Phase], steps_per_epoch: int
) -> None:
    """Draw the losses and rates of a run's epochs into its workdir."""
    rows = read_rows(workdir / "metrics.jsonl")
    plot_losses(rows, summary["best"], workdir / "losses.png")
    rates = rates_of(phases, summary["phases"], steps_per_epoch)
    plot_rates(rates, rows, summary["best"], workdir / "rates.png")
