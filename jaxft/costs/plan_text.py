"""A plan in words and tables."""

from collections.abc import Iterator

from jaxft.augment import augmentation
from jaxft.costs.collectives import Collective
from jaxft.costs.costs import Costs
from jaxft.costs.plan import PhasePlan, Plan
from jaxft.costs.program import Program
from jaxft.costs.verdict import duration, verdict
from jaxft.devices.pool import GIB
from jaxft.errors import in_a_line
from jaxft.report.tables import phases_table
from jaxft.runtime.lines import folded
from jaxft.runtime.table import table_lines

PHASE_COLUMNS = {
    **{"phase": "<15", "parameters": ">11", "epochs": ">7", "steps": ">7", "finder": ">7"},
    **{"s/step": ">8", "images/s": ">9", "about": ">9"},
}


def text(plan: Plan) -> str:
    """Return all of a plan: data, phases, programs, verdict."""
    sizes, settings = plan.sizes, plan.settings
    steps_per_epoch = sizes.train // settings.data.batch_size
    phases = [_phase_cells(phase, settings.data.batch_size) for phase in plan.phases]
    told = "\n".join(
        [
            f"{sizes.train} training and {sizes.valid} validation images in {sizes.classes} "
            f"classes ({in_a_line(sizes.source)}); {settings.model.name} on {plan.target.name}",
            "",
            phases_table(settings, steps_per_epoch),
            augmentation.in_words(settings.augment),
            "",
            *table_lines(PHASE_COLUMNS, phases),
            "",
            *_program_lines(plan),
            "",
            *verdict(plan),
        ]
    )
    return folded(told)


def _phase_cells(phase: PhasePlan, batch_size: int) -> tuple[str, ...]:
    return (
        phase.name,
        f"{phase.parameters:,}",
        f"{'<= ' if phase.at_most else ''}{phase.epochs}",
        str(phase.steps),
        str(phase.finder_steps or "-"),
        _seconds(phase.step_seconds),
        f"{batch_size / phase.step_seconds:.0f}" if phase.step_seconds else "-",
        duration(phase),
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2g}" if seconds < 0.1 else f"{seconds:.3f}"


def _program_lines(plan: Plan) -> Iterator[str]:
    yield "seconds of one step on one device: the least that its peaks allow (roofline), and the"
    yield "compiler's estimate (XLA model); below, what is sent between devices"
    head = (
        f"{'step of':<16} {'GFLOP':>9} {'GB moved':>9} {'GiB used':>8} {'roofline':>9} "
        f"{'XLA model':>9}"
    )
    yield from (head, "-" * len(head))
    for program in plan.programs:
        yield from _program_lines_of(program)


def _program_lines_of(program: Program) -> Iterator[str]:
    found = program.costs
    if not isinstance(found, Costs):
        needed = found.needed / GIB
        yield f"{program.name:<16} {'-':>9} {'-':>9} {needed:>8.2f}  out of memory in compilation"
        return
    model = None if found.model is None else found.model.seconds
    yield (
        f"{program.name:<16} {found.flops / 1e9:>9.4g} {found.bytes / 1e9:>9.3g} "
        f"{found.memory.total / GIB:>8.2f} {_seconds(found.roofline_seconds):>9} "
        f"{_seconds(model):>9}"
    )
    moved = [_sent(kind, c) for kind, c in found.collectives.items()]
    yield f"{'':<17}{'; '.join(moved) or 'nothing'}"


def _sent(kind: str, collective: Collective) -> str:
    beside = f" ({collective.asynchronous} asynchronous)" if collective.asynchronous else ""
    return f"{kind}: {collective.number}{beside}, {collective.bytes / 1e6:.3g} MB"
