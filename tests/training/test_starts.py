"""Rows of `starts.jsonl`, whatever ends a start."""

import pytest

from jaxft.errors import Interrupted, NonFiniteError
from jaxft.training import starts
from jaxft.training.starts import noted
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import read_rows


@pytest.fixture(name="cursor")
def _cursor():
    return Cursor(global_step=3)


def row(workdir):
    return read_rows(workdir / starts.FILE)[-1]


@pytest.mark.parametrize(
    ("raised", "ended_by"),
    [
        (Interrupted(), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (NonFiniteError("not finite"), "nonfinite"),
        (OSError("no room"), "failed"),
    ],
)
def test_what_ends_a_start_is_noted_and_raised(raised, ended_by, cursor, tmp_path):
    with pytest.raises(type(raised)) as caught, noted(tmp_path, cursor):
        cursor.global_step = 5
        raise raised
    assert caught.value is raised
    found = row(tmp_path)
    assert (found["from_step"], found["to_step"], found["ended_by"]) == (3, 5, ended_by)
    assert "changes" not in found


def test_a_start_that_ends_well_has_the_reason_of_its_last_phase(cursor, tmp_path):
    with noted(tmp_path, cursor, ["early_stop: 0 -> 3"]):
        cursor.phases = [{"ended_by": "epochs"}, {"ended_by": "overfit"}]
    assert row(tmp_path)["ended_by"] == "overfit"
    assert row(tmp_path)["changes"] == ["early_stop: 0 -> 3"]


def test_one_that_is_killed_counts_as_interrupted_and_got_to_the_next_ones_step(cursor, tmp_path):
    killed = noted(tmp_path, cursor)
    killed.__enter__()  # and never leaves
    found = row(tmp_path)
    assert (found["from_step"], found["to_step"], found["ended_by"]) == (3, None, "interrupted")
    again = Cursor(global_step=4)
    with pytest.raises(Interrupted), noted(tmp_path, again):
        again.global_step = 9
        raise Interrupted
    rows = read_rows(tmp_path / starts.FILE)
    assert [(r["from_step"], r["to_step"], r["ended_by"]) for r in rows] == [
        (3, 4, "interrupted"),
        (4, 9, "interrupted"),
    ]
