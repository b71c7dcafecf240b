"""A range test's curve as JSON, as a table of the rules' rates, and as a picture."""

import math
from typing import Any

from matplotlib.figure import Figure

from jaxft.recipe.finder.curve import LRCurve, Trials
from jaxft.recipe.finder.distance import DISTANCE
from jaxft.recipe.finder.rise import rise_of
from jaxft.report.figure import save_figure
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath


def rules_table(curve: LRCurve) -> str:
    """Return a table of every rule's rate with its reason; the chosen one is marked."""
    lines = [f"  {'rule':<17}{'lr':>10}  reason"]
    for name, (lr, reason) in curve.rules.items():
        rate = "-" if lr is None else f"{lr:.2e}"
        mark = "*" if name == curve.rule else " "
        lines.append(f"{mark} {name:<17}{rate:>10}  {reason}")
    return "\n".join(lines)


def curve_json(curve: LRCurve) -> dict[str, Any]:
    """Return an LR curve as the content of `lr_find/PHASE.json`."""
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
    """Return rates and losses of trials; the loss of a diverged one is null, for JSON."""
    losses = [float(loss) if math.isfinite(loss) else None for loss in trials.losses]
    return {"rates": trials.rates.tolist(), "losses": losses}


@hosts.first_only
def plot_curve(curve: LRCurve, title: str, path: AnyPath) -> None:
    """Draw the paired loss against the learning rate, with every rule's choice."""
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
    if curve.rule in ("rise", DISTANCE):
        high = max(high, rise_of(curve.unmoved))
    room = max(high - low, 1e-3)
    figure.axes[-1].set(xlabel="learning rate")
    axes.set(
        xscale="log",
        ylabel="training loss minus that at rate 0",
        ylim=(low - 0.2 * room, high + 0.8 * room),
        title=title,
    )
    axes.legend(fontsize=8, loc="lower left")
    save_figure(figure, path)


def _plot_trials(axes: Any, trials: Trials, lr: float) -> None:
    """Draw the validation loss against the rate of each trial."""
    axes.plot(trials.rates, trials.losses, "o-", ms=4, label="validation loss of a trial")
    axes.axvline(lr, color="C1", lw=2.0)
    lowest = max(float(trials.losses.min()), 1e-6)
    axes.set(ylabel="validation loss", ylim=(0.95 * lowest, 1.5 * lowest))
    axes.legend(fontsize=8, loc="upper center")
