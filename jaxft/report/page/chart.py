"""A chart as plain data, in units of its SVG; `chart.html.jinja` writes it.

380 units across are as many pixels on a phone, so that text of 12 units can be read there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxft.report.page.axes import Scale, Tick

LEFT, RIGHT, TOP, BOTTOM = 50.0, 372.0, 22.0, 192.0
MOST_DOTS = 400  # on a line; a longer one goes without


class Dot(NamedTuple):
    """A point with the words that show over it."""

    x: float
    y: float
    title: str
    radius: float = 2.5


class Line(NamedTuple):
    """A line, or dots alone; `kind` is a class of the style sheet."""

    kind: str
    path: str
    dots: Sequence[Dot] = ()


class Mark(NamedTuple):
    """A vertical line over the whole height; the label stands above it."""

    kind: str
    x: float
    title: str
    label: str = ""


class Band(NamedTuple):
    """A stretch of the horizontal axis with a label above it."""

    x: float
    width: float
    label: str
    label_x: float
    title: str


class Entry(NamedTuple):
    """A line of the legend."""

    kind: str
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn; `key` is unlike that of any other chart on the page."""

    key: str
    title: str
    told: str
    x_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line] = ()
    areas: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    bands: Sequence[Band] = ()
    legend: Sequence[Entry] = ()
    stars: Sequence[Dot] = ()
    box: tuple[float, float, float, float] = (LEFT, TOP, RIGHT, BOTTOM)


def line(
    kind: str,
    points: Sequence[tuple[float, float, str]],
    across: Scale,
    up: Scale,
    joined: bool = True,
) -> Line:
    """Return the line through points (x, y, words); one that is not finite interrupts it."""
    pieces, dots, pen = [], [], "M"
    for x, y, title in points:
        if not math.isfinite(y):
            pen = "M"
            continue
        place = across(x), up(y)
        pieces.append(f"{pen}{place[0]:g} {place[1]:g}")
        dots.append(Dot(*place, title))
        pen = "L"
    shown = dots if not joined or len(dots) <= MOST_DOTS else []
    return Line(kind, "".join(pieces) if joined else "", shown)


def area(
    kind: str,
    points: Sequence[tuple[float, float, float]],
    across: Scale,
    up: Scale,
) -> Line:
    """Return the area between a lower and an upper line, of points (x, low, high)."""
    edge = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
    path = "L".join(f"{across(x):g} {up(y):g}" for x, y in edge)
    return Line(kind, f"M{path}Z" if path else "")
