"""Waiting for images in a run, and remedies."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxft.config.sections import DataSettings

# A share of the time, and seconds, below which waiting is not worth a word.
WORTH_TELLING = 0.1
WORTH_SECONDS = 10.0


def of_phases(
    phases: Sequence[Mapping[str, Any]], data: DataSettings, in_memory: bool, cores: int
) -> dict[str, Any] | None:
    """Return the phase that waited longest, as in `summary.json`; None: none did.

    Args:
      phases: as in `summary.json`.
      data: the config's settings of images.
      in_memory: all training images were kept in memory.
      cores: CPU cores of this process.

    Returns:
      `phase`, `input_wait` (a share of its time without compilation) and `remedy`, in words.
    """
    waits = {phase["name"]: _share(phase["seconds"]) for phase in phases}
    waiting = [
        phase
        for phase in phases
        if waits[phase["name"]] > WORTH_TELLING and phase["seconds"]["input_wait"] > WORTH_SECONDS
    ]
    if not waiting:
        return None
    worst = max(waiting, key=lambda phase: phase["seconds"]["input_wait"])["name"]
    remedy = "; ".join(_remedies(data, in_memory, cores))
    return {"phase": worst, "input_wait": waits[worst], "remedy": remedy}


def in_words(found: Mapping[str, Any]) -> str:
    """Return the line that ends a run's summary."""
    return (
        f"bottleneck: reading images; {found['phase']} waited for them {found['input_wait']:.0%} "
        f"of its time. What helps: {found['remedy']}"
    )


def _share(seconds: Mapping[str, float]) -> float:
    """Return the share of waiting in a phase's seconds, compilation excluded."""
    return seconds["input_wait"] / max(seconds["total"] - seconds["compile"], 1e-9)


def _remedies(data: DataSettings, in_memory: bool, cores: int) -> list[str]:
    """List remedies that make images come faster, the cheapest first."""
    if in_memory:  # then it is the first pass, or the copying, that a step waited for
        return ["a host with faster cores, since all images are already in memory"]
    found = ["smaller files: `jaxft prepare` shrinks all images once"]
    if data.memory_gb >= 0:
        found.append(f"more memory for images than --config.data.memory_gb={data.memory_gb:g}")
    else:
        found.append("a host with more memory, to keep resized images in")
    if 0 < data.threads < cores:
        found.append(f"as many threads as cores: --config.data.threads=0, not {data.threads}")
    elif data.workers == 0:
        found.append(f"processes in addition to threads: --config.data.workers={max(cores - 1, 1)}")
    found.append("a host with more cores")
    return found
