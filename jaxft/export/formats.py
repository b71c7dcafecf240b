"""The formats that a run's model leaves in.

A format is a module of this folder with the functions of `Format`, and a row in FORMATS. The verb
does the rest: it opens the run, lets each format write into a folder aside, reads back what was
written by the function that `write` returned, compares its answers with the run's own on the same
canvases, writes the card with each format's `usage` in it, and moves the folder into place only if
all agree. `--layout=WORD` asks for the row `FORMAT_WORD` in place of `FORMAT`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from jaxft.errors import UserError
from jaxft.export.network import Run
from jaxft.export.subject import Subject

BOUND = 1e-4  # of the difference of two probabilities


@runtime_checkable
class Format(Protocol):
    """A format's module; a library that only it needs is imported by its functions."""

    def demand(self, subject: Subject) -> None:
        """Raise UserError where the format cannot hold the model, or a package is missing."""

    def write(self, subject: Subject, folder: Path) -> Run:
        """Write files into a folder on this machine; return a function that reads and runs them."""

    def usage(self, subject: Subject) -> str:
        """Return Markdown for the card: the files' names, and the lines of code that run them."""


def _stablehlo() -> Format:
    from jaxft.export import stablehlo

    return stablehlo


def _timm() -> Format:
    from jaxft.export import timm

    return timm


def _onnx() -> Format:
    from jaxft.export import onnx

    return onnx


def _triton() -> Format:
    from jaxft.export import triton

    return triton


# Imported when asked for: the names are known before JAX is.
FORMATS: dict[str, Callable[[], Format]] = {
    "timm": _timm,
    "stablehlo": _stablehlo,
    "onnx": _onnx,
    "onnx_triton": _triton,
}


def demand(formats: Mapping[str, Format], subject: Subject) -> None:
    """Raise UserError that lists all that keeps the formats from holding the model."""
    problems, hints = [], []
    for name, one in formats.items():
        try:
            one.demand(subject)
        except UserError as error:
            problems += [f"{name}: {line}" for line in (error.title, *error.offenders)]
            hints.append(error.hint)
    if problems:
        hint = " ".join(filter(None, hints))
        raise UserError("The run's model cannot be exported:", problems, hint)


def difference(run: Run, canvases: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the largest difference of a format's answers from the run's own probabilities."""
    found = run(canvases)
    if found.shape != probabilities.shape:
        return float("inf")
    return float(np.abs(found - probabilities).max())


class Disagreement(Exception):
    """Raised where an exported model answers differently from its run."""


def demand_agreement(name: str, found: float) -> None:
    """Raise Disagreement where a format's difference is above BOUND."""
    if not found <= BOUND:
        raise Disagreement(
            f"{name}: what was written differs by {found:.1e} from the run's own probabilities, "
            f"more than {BOUND:.0e}"
        )
