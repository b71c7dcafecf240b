"""A plan in words, as a table and as a picture."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from jaxft.augment import augment
from jaxft.costs.collectives import Collective
from jaxft.costs.compilation import Program
from jaxft.costs.costs import Costs
from jaxft.costs.fit import Fit
from jaxft.costs.phase_plan import PhasePlan
from jaxft.costs.plan import Plan
from jaxft.report.figure import save_figure
from jaxft.report.tables import clock, phases_table
from jaxft.runtime.paths import AnyPath

GIB = 2**30


def text(plan: Plan) -> str:
    """Everything: data, phases, programs, verdict."""
    sizes, settings = plan.sizes, plan.settings
    steps_per_epoch = sizes.train // settings.data.batch_size
    return "\n".join(
        [
            f"{sizes.train} training and {sizes.valid} validation images in {sizes.classes} "
            f"classes ({sizes.source}); {settings.model.name} on {plan.target.name}",
            "",
            phases_table(settings, steps_per_epoch),
            augment.in_words(settings.augment),
            "",
            *_phase_lines(plan),
            "",
            *_program_lines(plan),
            "",
            *verdict(plan),
        ]
    )


def _phase_lines(plan: Plan) -> Iterator[str]:
    head = (
        f"{'phase':<16} {'parameters':>12} {'epochs':>8} {'steps':>8} {'lr finder':>9} "
        f"{'s/step':>9} {'images/s':>9} {'about':>9}"
    )
    yield from (head, "-" * len(head))
    for phase in plan.phases:
        epochs = f"{'<= ' if phase.at_most else ''}{phase.epochs}"
        rate = "-"
        if phase.step_seconds:
            rate = f"{plan.settings.data.batch_size / phase.step_seconds:.0f}"
        yield (
            f"{phase.name:<16} {phase.parameters:>12,} {epochs:>8} {phase.steps:>8} "
            f"{phase.finder_steps or '-':>9} {_seconds(phase.step_seconds):>9} {rate:>9} "
            f"{_duration(phase):>9}"
        )


def _duration(phase: PhasePlan) -> str:
    if phase.seconds is None:
        return "-"
    return f"{'<= ' if phase.at_most else ''}{clock(phase.seconds)}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2g}" if seconds < 0.1 else f"{seconds:.3f}"


def _program_lines(plan: Plan) -> Iterator[str]:
    yield "one step on one device, in seconds: the least that its peaks allow (roofline), and what"
    yield "the compiler estimates (XLA model)"
    head = (
        f"{'step of':<16} {'GFLOP':>9} {'GB moved':>9} {'GiB used':>8} {'roofline':>9} "
        f"{'XLA model':>9}  sent between the devices"
    )
    yield from (head, "-" * len(head))
    for program in plan.programs:
        yield _program_line(program)


def _program_line(program: Program) -> str:
    found = program.costs
    if not isinstance(found, Costs):
        needed = found.needed / GIB
        return f"{program.name:<16} {'-':>9} {'-':>9} {needed:>8.2f}  does not compile: no memory"
    model = None if found.model is None else found.model.seconds
    moved = [_sent(kind, c) for kind, c in found.collectives.items()]
    return (
        f"{program.name:<16} {found.flops / 1e9:>9.4g} {found.bytes / 1e9:>9.3g} "
        f"{found.memory.total / GIB:>8.2f} {_seconds(found.roofline_seconds):>9} "
        f"{_seconds(model):>9}  {'; '.join(moved) or 'nothing'}"
    )


def _sent(kind: str, collective: Collective) -> str:
    beside = f" ({collective.asynchronous} asynchronous)" if collective.asynchronous else ""
    return f"{kind}: {collective.number}{beside}, {collective.bytes / 1e6:.3g} MB"


def verdict(plan: Plan) -> Iterator[str]:
    """Say whether it fits, into what, which batch would, and about how long it takes."""
    fits = plan.fit
    tightest = max(fits, key=lambda name: fits[name].needed)
    worst, batch = fits[tightest], plan.settings.data.batch_size
    needed = worst.needed / GIB
    if worst.allowed is None:
        yield (
            f"Takes {needed:.2f} GiB on each device (the step of {tightest}); how much the device "
            "has is not known."
        )
    elif all(fit.fits for fit in fits.values()):
        yield (
            f"It fits: {needed:.2f} of {worst.allowed / GIB:.2f} GiB on each device at most (the "
            f"step of {tightest}) at batch_size {batch}."
        )
        yield from _pool(plan, worst.allowed)
        yield from _largest(fits)
    else:
        short = ", ".join(name for name, fit in fits.items() if not fit.fits)
        yield (
            f"It does not fit at batch_size {batch}: {needed:.2f} GiB needed on each device, "
            f"{worst.allowed / GIB:.2f} GiB there (the step of {short})."
        )
        yield from _pool(plan, worst.allowed)
        yield from _largest(fits)
        yield from _parts(plan)
    yield from _about(plan)


def _pool(plan: Plan, allowed: float) -> Iterator[str]:
    """Name the memory that a step is held against, and how to get more of it."""
    if plan.pool is not None:
        yield f"The {allowed / GIB:.2f} GiB are {plan.pool.words}."
    if plan.target.platform.name == "gpu":
        yield "Not in the sum: workspaces of cuDNN's, and the batches that are read ahead."


def _parts(plan: Plan) -> Iterator[str]:
    """Phases that microbatches would help."""
    keys = [
        f"config.phases[{index}].microbatches"
        for index, phase in enumerate(plan.phases)
        if phase.inputs == "augmented" and not plan.fit[phase.program.name].fits
    ]
    if keys:
        yield f"A batch in parts takes less, and BatchNorm sees one at a time: {', '.join(keys)}."


def _largest(fits: dict[str, Fit]) -> Iterator[str]:
    batches = [fit.batch for fit in fits.values()]
    if None in batches:
        yield "No batch would fit (estimate): not even one image on each device."
        return
    most = min(batch for batch in batches if batch is not None)
    yield f"Largest batch_size that would fit, extrapolated from one compilation: about {most}."


def _about(plan: Plan) -> Iterator[str]:
    known = [phase.seconds for phase in plan.phases if phase.seconds is not None]
    if len(known) < len(plan.phases):
        yield "How long it takes is not estimated: the peak of the device is not known."
        return
    at_most = any(phase.at_most for phase in plan.phases)
    each = ", ".join(f"{phase.name} {_duration(phase)}" for phase in plan.phases)
    basis = "the chip's roofline, which no real program reaches"
    if all(isinstance(p.costs, Costs) and p.costs.model is not None for p in plan.programs):
        basis = "XLA's cost model of the compiled programs"
    yield f"About {'at most ' if at_most else ''}{clock(sum(known))} in all: {each}."
    yield (
        f"An estimate by {basis}; reading and decoding images, compiling and checkpoints come on "
        "top."
    )
    rates = [
        (plan.settings.data.batch_size / phase.step_seconds, phase.name)
        for phase in plan.phases
        if phase.step_seconds and phase.inputs == "augmented"
    ]
    if rates:
        rate, name = max(rates)
        yield f"{name} is that fast only if the hosts read {rate:.0f} images/s together."


def plot(plan: Plan, path: AnyPath) -> None:
    """The learning rate of every step, phase after phase.

    Where the rate is found by the range test, it is drawn as a multiple of the rate found.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    begin = 0
    for number, phase in enumerate(plan.phases):
        settings = plan.settings.phases[number]
        peak = 1.0 if isinstance(settings.lr, str) else float(settings.lr)
        rates = settings.rates(peak, plan.sizes.train // plan.settings.data.batch_size)
        steps = np.unique(np.linspace(0, phase.steps - 1, 4000).astype(int))
        note = f", x the rate {settings.lr!r}" if isinstance(settings.lr, str) else ""
        most = ", at most" if phase.at_most else ""
        axes.plot(begin + steps, rates(steps), label=f"{phase.name}{note}{most}", lw=1.2)
        begin += phase.steps
    axes.set(xlabel="step of the run", ylabel="learning rate", title="What the run would do")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_figure(figure, path)
