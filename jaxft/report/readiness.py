"""Words on the head at the unfreezing, and on what the body's training did to its features.

The numbers are those of `training/drift.py`. The thresholds are conventions: they choose words,
and every sentence gives the numbers that it was chosen by.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

SURE = 2.0  # standard errors between two accuracies, or two losses
LITTLE, FAR = 0.95, 0.7  # CKA above and below which features moved little, and far

Numbers = Mapping[str, Any]


def of_head(start: Numbers) -> str:
    """Say if the head was ready when the body was unfrozen, by the drift at the first step."""
    rise, refitted = start.get("rise", 0.0), start["refitted_accuracy"]
    if rise > SURE:
        return (
            f"the head had over-fitted before the body was unfrozen: its validation loss was "
            f"{start['val_loss']:.4f}, and had been {start['least_loss']:.4f}, {rise:.1f} standard "
            f"errors less"
        )
    told = (
        f"accuracy {start['accuracy']:.4f}, a linear head refitted on {start['images']:,} images "
        f"has {refitted:.4f}"
    )
    if refitted - start["accuracy"] > SURE * _error(
        refitted, start["accuracy"], start["valid_images"]
    ):
        return f"the head was not ready when the body was unfrozen: {told}"
    return f"the head was ready when the body was unfrozen: {told}"


def of_features(phase: Numbers) -> str:
    """Say how far features moved in a phase, up to the cycle's end of its best epoch.

    Args:
      phase: as `summary.json` has it, with `drift`.
    """
    examples = phase["drift"][0]["valid_images"]
    start, end = phase["drift"][0], _end(phase)
    old, now = end["old_head"]["accuracy"], end["refitted_accuracy"]
    error = _error(old, start["accuracy"], examples)
    if old < start["accuracy"] - SURE * error:
        reads = "the head of before no longer reads them"
    elif old > start["accuracy"] + SURE * error:
        reads = "the head of before reads them better"
    else:
        reads = "the head of before reads them as well"
    change = now - start["refitted_accuracy"]
    sure = abs(change) > SURE * _error(now, start["refitted_accuracy"], examples)
    gain = ("gains", "loses")[change < 0] if sure else "gains nothing sure"
    return (
        f"{_moved(end)} (CKA early {_two(end['cka']['early'])}, late {_two(end['cka']['late'])}); "
        f"{reads} ({old:.4f}, {start['accuracy']:.4f} at the unfreezing); a linear head refitted "
        f"on them {gain} ({now:.4f} after {start['refitted_accuracy']:.4f})"
    )


def _end(phase: Numbers) -> Numbers:
    """The first measurement after the phase's best epoch, or its last one."""
    later = [row for row in phase["drift"][1:] if row["epoch"] > phase["best_epoch"]]
    found: Numbers = (later or phase["drift"])[0 if later else -1]
    return found


def _moved(end: Numbers) -> str:
    alike = [value for value in end["cka"].values() if value is not None]
    if not alike or min(alike) >= LITTLE:
        return "features moved little"
    return "features moved far" if min(alike) < FAR else "features moved"


def _error(first: float, second: float, examples: int) -> float:
    """Standard error of the difference of two accuracies, as if of different images: too large."""
    variance = sum(p * (1 - p) for p in (first, second)) / examples
    return math.sqrt(max(variance, 1 / examples**2))


def _two(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def verdicts(phases: Sequence[Numbers]) -> list[str]:
    """Return two lines for each phase whose drift was measured."""
    measured = [phase for phase in phases if phase.get("drift")]
    names = [f"{phase['name']}: " if len(measured) > 1 else "" for phase in measured]
    return [
        name + told
        for name, phase in zip(names, measured, strict=True)
        for told in (of_head(phase["drift"][0]), of_features(phase))
    ]
