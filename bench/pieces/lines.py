"""The file of lines: what is in it, what it says is done, what a line's figures are a share of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]
DONE = "done"  # `what` of the line that ends a part

# The ceilings piece's figure, and the share of it that other lines get.
SHARES = {
    "copy": ("gb_per_second", "share_of_copy"),
    "matmul": ("tflop_per_second", "share_of_matmul"),
}


def read(*files: str) -> list[Line]:
    """All lines of files that are there; what is no JSON object (a line cut short) is left out."""
    found = []
    for file in filter(None, files):
        path = Path(file)
        for text in path.read_text().splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "piece" in line:
                found.append(line)
    return found


def done(found: Iterable[Line]) -> set[tuple[str, str]]:
    """The parts, (piece, side), that came to their end without an error."""
    return {
        (line["piece"], line["side"])
        for line in found
        if line.get("what") == DONE and not line["errors"]
    }


def ceilings(found: Iterable[Line]) -> dict[tuple[str, str], float]:
    """(device, copy or matmul) -> the most that was measured on it, by either library."""
    best: dict[tuple[str, str], float] = {}
    for line in found:
        if line["piece"] == "ceilings" and line.get("what") in SHARES:
            key = (line.get("device", ""), line["what"])
            best[key] = max(best.get(key, 0.0), line.get(SHARES[line["what"]][0], 0.0))
    return best


def with_shares(line: Line, limits: dict[tuple[str, str], float]) -> Line:
    """The line, with its shares of what the device was measured to do at most."""
    shares = {}
    for what, (rate, share) in SHARES.items():
        limit = limits.get((line.get("device", ""), what))
        if limit and rate in line:
            shares[share] = float(f"{line[rate] / limit:.4g}")
    return line | shares
