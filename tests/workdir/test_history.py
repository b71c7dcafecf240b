"""A run's rows come from its newest checkpoint as far as that goes."""

import pytest

from jaxft.workdir import checkpoint
from jaxft.workdir.history import read_history
from jaxft.workdir.rows import append_row

ROWS = [{"epoch": epoch, "val_loss": 0.5**epoch} for epoch in range(3)]


@pytest.fixture
def at(monkeypatch):
    """The newest cursor of any workdir, which holds the first two rows."""
    found = {"rows": 2, "table": ROWS[:2]}
    monkeypatch.setattr(checkpoint, "newest_cursor", lambda workdir: found)
    return found


@pytest.fixture
def workdir(tmp_path):
    for row in ROWS:
        append_row(tmp_path / "metrics.jsonl", row)
    return tmp_path


@pytest.mark.parametrize(
    "damage", [(b"0.5", b"0.7"), (b'"epoch": 0', b'"epoch: 0'), (b"1", b"\xff")]
)
def test_a_damaged_row_is_the_checkpoints(workdir, at, damage):
    file = workdir / "metrics.jsonl"
    assert read_history(workdir) == ROWS
    file.write_bytes(file.read_bytes().replace(*damage, 1))
    assert read_history(workdir) == ROWS


def test_without_the_file_the_checkpoint_has_its_rows(workdir, at):
    (workdir / "metrics.jsonl").unlink()
    assert read_history(workdir) == ROWS[:2]


def test_an_older_checkpoint_counts_rows_that_it_does_not_hold(workdir, at):
    at["rows"] = 5
    assert read_history(workdir) == ROWS
    del at["rows"], at["table"]
    assert read_history(workdir) == ROWS
