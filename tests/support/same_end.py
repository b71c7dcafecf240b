"""Two runs that must have ended alike, whatever happened to one of them."""

import json
from pathlib import Path
from typing import Any

from jaxft.runtime import digests
from jaxft.workdir import checkpoint

KEYS = ("phase", "cycle", "epoch", "step", "global_step", "trn_loss", "val_loss", "accuracy", "lr")


def rows(path: Path) -> list[Any]:
    """Return the rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_end(workdir: Path, untouched: Path) -> None:
    """Compare parameters, rows, summary and predictions of two finished runs, times aside."""
    table, wanted = (
        [{key: row[key] for key in KEYS} for row in rows(folder / "metrics.jsonl")]
        for folder in (workdir, untouched)
    )
    assert table == wanted
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
    saved, expected = (checkpoint.read_newest(folder) for folder in (workdir, untouched))
    assert digests.digest(saved.best) == digests.digest(expected.best)
    assert digests.digest(saved.state) == digests.digest(expected.state)
    # A range test that was cut short was repeated, with the same losses, rates and choice.
    curves = [
        {path.name: path.read_text() for path in (folder / "lr_find").glob("*.json")}
        for folder in (workdir, untouched)
    ]
    assert curves[0] == curves[1]
    predictions = Path("valid", "predictions.csv")
    assert (workdir / predictions).read_bytes() == (untouched / predictions).read_bytes()
