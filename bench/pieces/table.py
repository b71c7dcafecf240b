"""A file of lines as Markdown tables, for people."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from pieces import lines
from pieces.catalogue import PIECES
from pieces.lines import Line

DIRECTIONS = ("y", "dx", "dk")
# Fields of a line that have a column of their own, in their order, and what that is called.
COLUMNS = {
    "images_per_second": "images/s",
    "tflop_per_second": "TFLOP/s",
    "gb_per_second": "GB/s",
    "share_of_matmul": "of matmul",
    "share_of_copy": "of copy",
    "mfu": "MFU",
    "roofline_share": "of roofline",
    "share": "share",
    "gaps_share": "gaps",
    "gains": "over base",
    "accuracy": "accuracy",
    "error_ratio": "error",
    "holds": "holds",
    "same_best_weights": "same weights",
    "compile_seconds": "compile s",
}
NAMES = ("side", "what", "shape", "lowering", "kind", "direction")


def render(found: Sequence[Line]) -> str:
    """All tables, piece by piece; at the end what failed and what was skipped."""
    parts = [about(found)]
    for piece in PIECES:
        here = [line for line in found if line["piece"] == piece and "error" not in line]
        shown = [line for line in here if line.get("what") not in (lines.DONE, "skipped")]
        if shown:
            pivot = convolutions(shown) if any("direction" in line for line in shown) else ""
            parts.append(f"## {piece}\n\n{pivot or plain(shown)}")
    parts.append(problems(found))
    return "\n\n".join(filter(None, parts)) + "\n"


def about(found: Iterable[Line]) -> str:
    """Devices, versions, revisions and drivers of the lines."""
    facts: dict[str, dict[str, None]] = defaultdict(dict)
    for line in found:
        for key in ("device", "revision", "driver"):
            if key in line:
                facts[key][str(line[key])] = None
        for name, version in line.get("versions", {}).items():
            facts[name][str(version)] = None
    return "\n".join(f"- {key}: {', '.join(values)}" for key, values in facts.items())


def plain(found: Sequence[Line]) -> str:
    """A row a line, with the columns that any of them has."""
    names = [name for name in NAMES if any(name in line for line in found)]
    columns = [column for column in COLUMNS if any(column in line for line in found)]
    head = [*names, "ms (quartiles)", *(COLUMNS[column] for column in columns)]
    rows = [
        [
            *(str(line.get(name, "")) for name in names),
            milliseconds(line),
            *(number(line.get(column)) for column in columns),
        ]
        for line in found
    ]
    return markdown(head, rows)


def convolutions(found: Sequence[Line]) -> str:
    """A row for each shape and direction, a column for each lowering; sums over the network.

    Sums are of all layers of a kernel's size, for lowerings that were timed on each of them.
    """
    cells: dict[tuple[str, str], dict[str, Line]] = defaultdict(dict)
    for line in found:
        if "direction" in line and "ms" in line:
            cells[line["shape"], line["direction"]][line["lowering"]] = line
    lowerings = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = []
    for (shape, direction), row in sorted(cells.items(), key=_in_order(cells)):
        best = min(row.values(), key=_median)
        share = best.get("share_of_copy")
        times = [number(_median(row[name])) if name in row else "" for name in lowerings]
        rows.append([shape, direction, *times, best["lowering"], number(share)])
    sizes = dict.fromkeys(size for shape, _ in cells if (size := _size(shape)))
    for size, direction in product(sizes, DIRECTIONS):
        wanted = (size, direction)
        here = [row for (shape, way), row in cells.items() if (_size(shape), way) == wanted]
        totals = [_total(here, name) for name in lowerings]
        rows.append([f"all {size}", direction, *map(number, totals), "", ""])
    return markdown(["shape", "direction", *lowerings, "fastest", "its GB/s of copy"], rows)


def _in_order(cells: Iterable[tuple[str, str]]) -> Any:
    shapes = list(dict.fromkeys(shape for shape, _ in cells))
    return lambda item: (shapes.index(item[0][0]), DIRECTIONS.index(item[0][1]))


def _size(shape: str) -> str:
    """The kernel's size in a layer's name, "3x3"; "" where there is none."""
    match = re.search(r"(\d+x\d+)/\d+$", shape)
    return match[1] if match else ""


def _median(line: Line) -> float:
    return line["ms"]["median"]


def _total(rows: Sequence[dict[str, Line]], lowering: str) -> float | None:
    """Milliseconds of all layers; None where the lowering was not timed on each."""
    if not rows or not all(lowering in row for row in rows):
        return None
    return sum(row[lowering].get("count", 1) * _median(row[lowering]) for row in rows)


def problems(found: Iterable[Line]) -> str:
    """List what failed, and what was left out."""
    rows = [
        [line["piece"], line["side"], line.get("shape", ""), line.get("lowering", ""), text[:200]]
        for line in found
        if (text := line.get("error") or line.get("skipped"))
    ]
    head = ["piece", "side", "shape", "lowering", "what"]
    return f"## Failed or skipped\n\n{markdown(head, rows)}" if rows else ""


def milliseconds(line: Line) -> str:
    """Median and quartiles."""
    if "ms" not in line:
        return ""
    ms = line["ms"]
    if "quartile1" not in ms or ms.get("n", 1) == 1:
        return number(ms["median"])
    return f"{number(ms['median'])} ({number(ms['quartile1'])} to {number(ms['quartile3'])})"


def number(value: Any) -> str:
    """Four digits of a number; words as they are."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines_ = [head, ["---"] * len(head), *rows]
    texts = (" | ".join(cell.replace("|", "/") for cell in row) for row in lines_)
    return "\n".join(f"| {text} |" for text in texts)
