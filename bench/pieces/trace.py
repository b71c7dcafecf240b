"""One train step under jax.profiler: time and bytes by kind of kernel, and the gaps between."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxft.costs.hlo import Computations, computations, shape_bytes
from pieces import ideas, kernels, network
from pieces.clock import Timing
from pieces.report import Report
from pieces.setting import Setting

LONGEST = 12  # kernels that are named


class Event(NamedTuple):
    """An execution: the kernel's name, the HLO operation's ("" = not told), nanoseconds.

    XLA:GPU launches most kernels as a command buffer, which is the operation then; the kernel's
    name is that of its own operation, with "_" for other signs.
    """

    name: str
    operation: str
    start: float
    length: float


def with_jax(setting: Setting, report: Report) -> None:
    """A line for each kind of kernel, one for the gaps, one for the longest kernels."""
    network.start(report)
    step = ideas.train_step(setting)
    for _ in range(setting.warm_up):
        jax.block_until_ready(step())
    folder = Path(setting.folder, "trace", str(time.time_ns()))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python would take longer for each call, and leave gaps
    with jax.profiler.trace(str(folder), profiler_options=options):
        jax.block_until_ready(step())
    program = computations(step.compiled().as_text())
    with report.guard("trace"):
        file = next(folder.rglob("*.xplane.pb"))
        tell(report, list(executions(jax.profiler.ProfileData.from_file(str(file)))), program)


def executions(data: Any) -> Iterator[Event]:
    """Executions on the device: all in a GPU's streams; on a CPU those that name an operation."""
    planes = list(data.planes)
    on_device = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    for plane in on_device or planes:
        for line in plane.lines:
            if on_device and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", ""))
                if on_device or operation:
                    yield Event(event.name, operation, event.start_ns, event.duration_ns)


def tell(report: Report, events: list[Event], program: Computations) -> None:
    """The lines."""
    kinds = kinds_of(program)
    times, counts, moved = Counter[str](), Counter[str](), Counter[str]()
    names = Counter[str]()
    for event in events:
        found = kinds.get(plain(event.operation)) or kinds.get(plain(event.name))
        kind, size = found or (kernels.by_name(f"{event.name} {event.operation}"), 0)
        times[kind] += event.length
        counts[kind] += 1
        moved[kind] += size
        names[event.name] += event.length
    total = sum(times.values())
    for kind, length in times.most_common():
        share, timing = length / total, Timing((length / 1e6,), 1)
        facts = {"kind": kind, "share": share, "kernels": counts[kind]}
        report.figure("kernels", timing, moved=float(moved[kind]) or None, **facts)
    span = max(e.start + e.length for e in events) - min(e.start for e in events)
    busy = covered((e.start, e.start + e.length) for e in events)
    longest = {name: length / 1e6 for name, length in names.most_common(LONGEST)}
    facts = {"gaps_share": 1 - busy / span, "kernels": len(events), "longest_ms": longest}
    report.figure("step", Timing((span / 1e6,), 1), **facts)


def kinds_of(program: Computations) -> dict[str, tuple[str, int]]:
    """HLO operation, as a kernel is named -> its kind, and the bytes of operands and results."""
    found = {}
    for operations in program.values():
        shapes = {operation.name: operation.shape for operation in operations}
        for name, shape, opcode, operands, line in operations:
            arrays = (shape, *(shapes.get(operand, "") for operand in operands))
            size = sum(map(shape_bytes, arrays))
            found[plain(name)] = (kernels.by_operation(name, opcode, line), size)
    return found


def plain(name: str) -> str:
    """The name of an operation as kernels have it."""
    return re.sub(r"\W", "_", name)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(intervals):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total
