"""One train step of the eager network under torch.profiler: time by kind of kernel."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pieces import kernels, peer, peers
from pieces.clock import Timing
from pieces.report import Report
from pieces.setting import Setting

LONGEST = 12  # kernels that are named


def with_torch(setting: Setting, report: Report) -> None:
    """A line for each kind of kernel, and one for the longest."""
    torch = peer.start(report)
    if torch is None:
        return
    size = (setting.batch, setting.image_size)
    step = peers.ready(peer.network(setting), size, "train", compiled=False)
    for _ in range(setting.warm_up):
        step()
    peer.wait()
    with report.guard("trace"):
        activities = list(torch.profiler.supported_activities())
        with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
            step()
            peer.wait()
        tell(report, list(executions(profile.events())))


def executions(events: Any) -> Iterator[tuple[str, str, float]]:
    """(kind, kernel, microseconds) of what ran on the GPU; on a CPU of every operation itself."""
    on_gpu = any(event.kernels for event in events)
    for event in events:
        for kernel in event.kernels if on_gpu else ():
            yield kind_of(kernel.name, event.input_shapes), kernel.name, kernel.duration
        if not on_gpu and event.self_cpu_time_total:
            yield kind_of(event.name, event.input_shapes), event.name, event.self_cpu_time_total


def kind_of(kernel: str, shapes: Any) -> str:
    """The kind of a kernel; a convolution's by the shapes of its operation, too."""
    kind = kernels.by_name(kernel)
    sides = [shape for shape in shapes or () if len(shape) == 4]
    if not kind.startswith("convolution") or len(sides) < 2:
        return kind
    # Forward: x and the kernel; backward: dy, x and the kernel.
    x, weights = sides[-2:]
    if x[1] != weights[1]:
        return f"{kind} grouped"
    return f"{kind} {weights[2]}x{weights[3]}"


def tell(report: Report, found: list[tuple[str, str, float]]) -> None:
    """The lines."""
    times, counts, names = Counter[str](), Counter[str](), Counter[str]()
    for kind, name, microseconds in found:
        times[kind] += microseconds
        counts[kind] += 1
        names[name] += microseconds
    total = sum(times.values())
    for kind, length in times.most_common():
        facts = {"kind": kind, "share": length / total, "kernels": counts[kind]}
        report.figure("kernels", Timing((length / 1e3,), 1), **facts)
    longest = {name[:80]: length / 1e3 for name, length in names.most_common(LONGEST)}
    facts = {"kernels": len(found), "longest_ms": longest}
    report.figure("busy", Timing((total / 1e3,), 1), **facts)
