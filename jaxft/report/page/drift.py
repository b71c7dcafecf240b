"""Drift on the page: what the body's training did to its features, phase by phase."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxft.report import readiness
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, four, short

HEADS = (
    *("epochs", "CKA early", "CKA late", "cosine early", "cosine late", "accuracy"),
    *("old head", "refitted head", "calibration error", "head norm", "gradient"),
)


class Moved(NamedTuple):
    """A phase that trained the body: sentences, and a row for each measurement, in words."""

    name: str
    sentences: list[str]
    rows: list[list[str]]


def drift(found: Contents) -> list[Moved]:
    """Return the phases whose drift was measured."""
    return [
        Moved(phase["name"], _sentences(phase), [_cells(row) for row in phase["drift"]])
        for phase in found.summary.get("phases", ())
        if phase.get("drift")
    ]


def _sentences(phase: Mapping[str, Any]) -> list[str]:
    told = readiness.of_head(phase["drift"][0]), readiness.of_features(phase)
    return [f"{words[0].upper()}{words[1:]}." for words in told]


def _cells(row: Mapping[str, Any]) -> list[str]:
    alike = [row[kind][group] for kind in ("cka", "cosine") for group in ("early", "late")]
    accuracies = row["accuracy"], row["old_head"]["accuracy"], row["refitted_accuracy"]
    return [
        count(row["epoch"]),
        *map(four, (*alike, *accuracies, row["calibration_error"])),
        *(short(float(f"{row[key]:.3g}")) for key in ("head_norm", "gradient_norm")),
    ]
