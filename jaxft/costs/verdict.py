"""Verdict on a plan in words: the memory it takes, the batch that fits, the time it takes."""

from collections.abc import Iterator

from jaxft.config.phase import path_of
from jaxft.costs.costs import Costs
from jaxft.costs.plan import PhasePlan, Plan
from jaxft.costs.program import Fit
from jaxft.devices.pool import GIB
from jaxft.runtime.clock import clock


def verdict(plan: Plan) -> Iterator[str]:
    """Say if it fits into the memory, which batch would, and about how long it takes."""
    fits = plan.fit
    tightest = max(fits, key=lambda name: fits[name].needed)
    worst, batch = fits[tightest], plan.settings.data.batch_size
    needed = worst.needed / GIB
    if worst.allowed is None:
        yield (
            f"It takes {needed:.2f} GiB on each device (the step of {tightest}); the device's "
            "memory is not known."
        )
    elif all(fit.fits for fit in fits.values()):
        yield (
            f"It fits at batch_size {batch}: at most {needed:.2f} of {worst.allowed / GIB:.2f} GiB "
            f"on each device (the step of {tightest})."
        )
        yield from _pool(plan, worst.allowed)
        yield from _largest(fits)
    else:
        short = ", ".join(name for name, fit in fits.items() if not fit.fits)
        yield (
            f"It does not fit at batch_size {batch}: {needed:.2f} GiB needed on each device, "
            f"{worst.allowed / GIB:.2f} GiB available (the step of {short})."
        )
        yield from _pool(plan, worst.allowed)
        yield from _largest(fits)
        yield from _parts(plan)
    yield from _about(plan)


def duration(phase: PhasePlan) -> str:
    """Return the estimated time of a phase in words."""
    if phase.seconds is None:
        return "-"
    return f"{'<= ' if phase.at_most else ''}{clock(phase.seconds)}"


def _pool(plan: Plan, allowed: float) -> Iterator[str]:
    """Name the memory that a step is held against, and how to get more of it."""
    if plan.pool is not None:
        yield f"The {allowed / GIB:.2f} GiB are {plan.pool.words}."
    if plan.target.platform.name == "gpu":
        yield "Not counted: cuDNN's workspaces and the batches that are read ahead."


def _parts(plan: Plan) -> Iterator[str]:
    """Name the phases that microbatches would help."""
    keys = [
        f"config.{path_of(plan.settings.phases, index)}.microbatches"
        for index, phase in enumerate(plan.phases)
        if phase.inputs == "augmented" and not plan.fit[phase.program.name].fits
    ]
    if keys:
        yield (
            "A batch split into parts takes less (BatchNorm then sees one part at a time): "
            f"{', '.join(keys)}."
        )


def _largest(fits: dict[str, Fit]) -> Iterator[str]:
    batches = [fit.batch for fit in fits.values()]
    if None in batches:
        yield "No batch would fit (estimate): not even one image per device."
        return
    most = min(batch for batch in batches if batch is not None)
    yield f"Largest batch_size that would fit, extrapolated from one compilation: about {most}."


def _about(plan: Plan) -> Iterator[str]:
    known = [phase.seconds for phase in plan.phases if phase.seconds is not None]
    if len(known) < len(plan.phases):
        yield "No estimate of the time: the device's peak is not known."
        return
    at_most = any(phase.at_most for phase in plan.phases)
    each = ", ".join(f"{phase.name} {duration(phase)}" for phase in plan.phases)
    basis = "the chip's roofline, which no real program reaches"
    if all(isinstance(p.costs, Costs) and p.costs.model is not None for p in plan.programs):
        basis = "XLA's cost model of the compiled programs"
    yield f"{'At most about' if at_most else 'About'} {clock(sum(known))} in total: {each}."
    yield (
        f"Estimated from {basis}; reading and decoding images, compilation and checkpoints come on "
        "top."
    )
    rates = [
        (plan.settings.data.batch_size / phase.step_seconds, phase.name)
        for phase in plan.phases
        if phase.step_seconds and phase.inputs == "augmented"
    ]
    if rates:
        rate, name = max(rates)
        yield f"{name} is that fast only if the hosts together read {rate:.0f} images/s."
