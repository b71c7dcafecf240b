"""A plan as a picture."""

import numpy as np
from matplotlib.figure import Figure

from jaxft.costs.plan import Plan
from jaxft.report.figure import save_figure
from jaxft.runtime.paths import AnyPath


def plot(plan: Plan, path: AnyPath) -> None:
    """Draw the learning rate of every step, phase after phase.

    A rate that the range test is to find is drawn as a multiple of the rate found.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    begin = 0
    for number, phase in enumerate(plan.phases):
        settings = plan.settings.phases[number]
        peak = 1.0 if isinstance(settings.lr, str) else float(settings.lr)
        rates = settings.rates(peak, plan.sizes.train // plan.settings.data.batch_size)
        steps = np.unique(np.linspace(0, phase.steps - 1, 4000).astype(int))
        note = f", relative to the rate {settings.lr!r}" if isinstance(settings.lr, str) else ""
        most = ", at most" if phase.at_most else ""
        axes.plot(begin + steps, rates(steps), label=f"{phase.name}{note}{most}", lw=1.2)
        begin += phase.steps
    axes.set(xlabel="step of the run", ylabel="learning rate", title="What the run would do")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)
