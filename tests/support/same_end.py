"""Two runs that must have ended alike, whatever happened to one of them."""

import json
from pathlib import Path
from typing import Any

from jaxft.runtime import digests
from jaxft.workdir import checkpoint

TIMES = ("seconds", "images_per_second", "input_wait")  # of a row


def rows(path: Path) -> list[Any]:
    """Return the rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(workdir: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl without times."""
    found = rows(workdir / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in TIMES} for row in found]


def assert_same_weights(workdir: Path, wanted: Path) -> None:
    """Compare the rows of two runs, times aside, and both items of their newest checkpoints."""
    assert table(workdir) == table(wanted)
    ends = [checkpoint.read_newest(place) for place in (workdir, wanted)]
    for item in checkpoint.ARRAYS:
        assert digests.digest(getattr(ends[0], item)) == digests.digest(getattr(ends[1], item))


def assert_same_end(workdir: Path, untouched: Path) -> None:
    """Compare parameters, rows, summary and predictions of two finished runs, times aside."""
    assert_same_weights(workdir, untouched)
    summary, whole = (
        json.loads((folder / "summary.json").read_text()) for folder in (workdir, untouched)
    )
    assert summary["ended_by"] == whole["ended_by"]
    assert (summary["accuracy"], summary["val_loss"]) == (whole["accuracy"], whole["val_loss"])
    assert summary["best"] == whole["best"]
    for phase, other in zip(summary["phases"], whole["phases"], strict=True):
        assert phase.keys() == other.keys()
        same = phase.keys() - {"seconds"}
        assert {k: phase[k] for k in same} == {k: other[k] for k in same}
    # A range test that was cut short was repeated, with the same losses, rates and choice.
    curves = [
        {path.name: path.read_text() for path in (folder / "lr_find").glob("*.json")}
        for folder in (workdir, untouched)
    ]
    assert curves[0] == curves[1]
    predictions = Path("valid", "predictions.csv")
    assert (workdir / predictions).read_bytes() == (untouched / predictions).read_bytes()
