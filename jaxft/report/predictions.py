"""Predictions in words, for a terminal: each image's, or a summary of many."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxft.errors import in_a_line
from jaxft.evaluation.prediction_files import Predicted

FEW = 10  # images that get a line each
TOP = 3  # classes on such a line
MOST_CLASSES = 10  # in the summary
WIDTH = 80
NAME = 34  # columns of a file or class
SURE, UNSURE = 0.9, 0.5


def lines_of(found: Predicted) -> list[str]:
    """Return what was seen, in lines of at most WIDTH columns."""
    if len(found.files) <= FEW:
        return _each(found)
    return [*_by_class(found), _how_sure(found.probabilities.max(1))]


def _each(found: Predicted) -> list[str]:
    room = min(NAME, max((_width(in_a_line(file)) for file in found.files), default=0))
    lines = []
    for file, row in zip(found.files, found.probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:TOP]
        share = (WIDTH - room) // len(best) - len("  0.00 ")
        told = (f"{row[index]:.2f} {_fitted(found.classes[index], share)}" for index in best)
        lines.append(f"{_fitted(file, room)}  {'  '.join(told)}".rstrip())
    return lines


def _by_class(found: Predicted) -> list[str]:
    predicted = found.probabilities.argmax(1)
    counts = np.bincount(predicted, minlength=len(found.classes))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    told, others = order[:MOST_CLASSES], order[MOST_CLASSES:]
    lines = [f"{'class':<{NAME}}  {'images':>8}  {'mean p':>6}"]
    for index in told:
        mean = found.probabilities[predicted == index, index].mean()
        lines.append(f"{_fitted(found.classes[index], NAME)}  {counts[index]:>8,}  {mean:>6.2f}")
    if others:
        title = f"{len(others)} more class{'es' if len(others) > 1 else ''}"
        lines.append(f"{title:<{NAME}}  {counts[others].sum():>8,}")
    return lines


def _how_sure(best: Float[np.ndarray, " images"]) -> str:
    sure, unsure = (best >= SURE).mean(), (best < UNSURE).mean()
    return f"sure (p of {SURE} or more) of {sure:.0%}, unsure (below {UNSURE}) of {unsure:.0%}"


def _width(text: str) -> int:
    """Columns of a text on a terminal; ideographs take two, combining marks none."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _fitted(name: str, room: int) -> str:
    """A name in exactly so many columns: its end tells most."""
    name = in_a_line(name).replace("\t", " ")
    if _width(name) > room:
        kept: Sequence[str] = name
        while _width("".join(kept)) > room - 3:
            kept = kept[1:]
        name = f"...{''.join(kept)}"
    return name + " " * (room - _width(name))
