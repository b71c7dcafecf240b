"""Figures of a bench in words: a table, and a block to paste."""

import platform as machine
from collections.abc import Sequence
from typing import Any

from jaxft.costs import bench_json, programs
from jaxft.costs.bench_json import without_peaks
from jaxft.costs.figures import Figures
from jaxft.costs.job import WARM_UP, Job
from jaxft.devices import provenance
from jaxft.devices.pool import GIB
from jaxft.runtime.table import table_lines

COLUMNS = {
    **{"program": "<16", "images/s": ">9", "/device": ">9", "ms/step": ">9", "quartiles": ">17"},
    **{"compile": ">8", "GiB": ">7", "GFLOP": ">8", "MFU": ">6", "GB": ">8", "GB/s": ">7"},
    **{"roofline": ">8"},
}


def table(job: Job, rows: Sequence[Figures]) -> str:
    """Return a table of a line per program, with notes below."""
    lines = table_lines(COLUMNS, map(_cells, rows))
    waits = [f"{r.program} {r.input_wait:.0%}" for r in rows if r.input_wait is not None]
    if waits:
        lines.append(f"waited for images: {', '.join(waits)} of the time")
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    if peaks:
        lines.append(f"peak memory in use on a device: {max(peaks) / GIB:.2f} GiB{_of_pool(rows)}")
    missing = without_peaks(job)
    if missing:
        lines.append(f"no MFU or share of the roofline: {missing}")
    return "\n".join(lines)


def _of_pool(rows: Sequence[Figures]) -> str:
    pools = [row.pool_bytes for row in rows if row.pool_bytes is not None]
    return f" of {min(pools) / GIB:.2f} that JAX may use" if pools else ""


def _cells(row: Figures) -> tuple[str, ...]:
    low, middle, high = (1e3 * seconds for seconds in row.step_seconds)
    rate = row.images_per_second
    return (
        row.program,
        _number(rate),
        _number(rate / row.devices),
        _number(middle),
        f"{_number(low)} - {_number(high)}",
        f"{row.compile_seconds:.1f}s",
        f"{row.costs.memory.total / GIB:.2f}",
        f"{row.costs.flops / 1e9:.4g}",
        _share(row.mfu),
        f"{row.costs.bytes / 1e9:.3g}",
        _number(row.bytes_per_second / 1e9),
        _share(row.roofline_share),
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float) -> str:
    """Write a number with four digits, never in powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _sizes(job: Job) -> str:
    return ", ".join(map(str, programs.image_sizes(job.settings)))


def explanation(job: Job) -> str:
    """Explain the table."""
    return (
        f"a step is {job.settings.data.batch_size} images over all devices; median and quartiles "
        f"of {job.repeats} repeats after {WARM_UP} for warm-up\n(on cached features a repeat is an "
        "epoch); GiB, GFLOP and GB moved are per step and device, as compiled;\nMFU is the share "
        "of peak arithmetic, roofline the share of what arithmetic and memory together allow"
    )


def block(job: Job, rows: Sequence[Figures], config: str) -> str:
    """Return a block to paste into an issue: versions, devices, figures; fenced, for Markdown."""
    facts = bench_json.about(job, config)
    versions = ", ".join(f"{name} {it}" for name, it in provenance.versions().items())
    return "\n".join(
        [
            "```text",
            f"jaxft bench --config={config} --input={facts['input']} --repeats={job.repeats}",
            f"{versions}; {machine.system()} {machine.machine()}",
            f"revision {facts['revision']}",
            *_settings(facts),
            f"{facts['devices']} {facts['platform']} ({facts['device_kind']}), "
            f"{facts['processes']} process{'' if facts['processes'] == 1 else 'es'}",
            f"{facts['model']} in {facts['dtype']}, {_sizes(job)} px, "
            f"{facts['batch_size']} images per step, {facts['classes']} classes, "
            f"{facts['examples']} examples",
            table(job, rows),
            "```",
        ]
    )


def _settings(facts: dict[str, Any]) -> list[str]:
    """Describe the environment, and the compilation where programs may come from the cache."""
    variables = [f"{name}={value}" for name, value in facts["environment"].items()]
    lines = [f"with {' '.join(variables)}"] if variables else []
    if facts["compilation_cache"]:
        lines.append("compiled programs were kept: compile is not compilation time alone")
    return lines
