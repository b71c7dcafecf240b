"""Figures of a bench in words: a table, and a block to paste."""

import platform as machine
from collections.abc import Sequence

from jaxft import bench, programs, provenance
from jaxft.bench import Figures, Job

GIB = 2**30


def table(job: Job, rows: Sequence[Figures]) -> str:
    """A line a program."""
    head = (
        f"{'program':<16} {'images/s':>9} {'a device':>9} {'ms/step':>9} {'quartiles':>17} "
        f"{'compile':>8} {'GiB':>7} {'GFLOP':>8} {'MFU':>6}"
    )
    lines = [head, "-" * len(head), *(_line(row) for row in rows)]
    waits = [f"{r.program} {r.input_wait:.0%}" for r in rows if r.input_wait is not None]
    if waits:
        lines.append(f"waited for images: {', '.join(waits)} of the time")
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    if peaks:
        lines.append(f"most memory in use on a device: {max(peaks) / GIB:.2f} GiB")
    missing = {why: None for row in rows if (why := bench.without_mfu(job, row))}
    lines += [f"no MFU: {why}" for why in missing]
    return "\n".join(lines)


def _line(row: Figures) -> str:
    low, middle, high = (1e3 * seconds for seconds in row.step_seconds)
    share = "-" if row.mfu is None else f"{row.mfu:.1%}"
    rate = row.images_per_second
    return (
        f"{row.program:<16} {_number(rate):>9} {_number(rate / row.devices):>9} "
        f"{_number(middle):>9} {f'{_number(low)} - {_number(high)}':>17} "
        f"{row.compile_seconds:>7.1f}s {row.costs.memory.total / GIB:>7.2f} "
        f"{row.costs.flops / 1e9:>8.4g} {share:>6}"
    )


def _number(value: float) -> str:
    """Four digits, and none in powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _sizes(job: Job) -> str:
    return ", ".join(map(str, programs.image_sizes(job.settings)))


def explanation(job: Job) -> str:
    """How to read the table."""
    return (
        f"a step is {job.settings.data.batch_size} images over all devices; median and quartiles "
        f"of {job.repeats} repeats after {bench.WARM_UP}\n(a repeat on cached features is an "
        "epoch); GiB and GFLOP are one device's, as compiled"
    )


def block(job: Job, rows: Sequence[Figures], config: str) -> str:
    """What to paste into an issue: versions, devices, figures; fenced, for Markdown."""
    facts = bench.about(job, config)
    versions = ", ".join(f"{name} {it}" for name, it in provenance.versions().items())
    return "\n".join(
        [
            "```text",
            f"jaxft bench --config={config} --input={facts['input']} --repeats={job.repeats}",
            f"{versions}; {machine.system()} {machine.machine()}",
            f"revision {facts['revision']}",
            f"{facts['devices']} {facts['platform']} ({facts['device']}), "
            f"{facts['processes']} process{'' if facts['processes'] == 1 else 'es'}",
            f"{facts['model']} in {facts['dtype']}, {_sizes(job)} px, "
            f"{facts['batch_size']} images a step, {facts['classes']} classes, "
            f"{facts['examples']} examples",
            table(job, rows),
            "```",
        ]
    )
