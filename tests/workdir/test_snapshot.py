"""Snapshot and cursor: a checkpoint's content comes back unchanged."""

from dataclasses import asdict

import numpy as np
import pytest

from jaxft.errors import UserError
from jaxft.models.variables import Weights
from jaxft.workdir.cursor import Cursor, PhaseCursor
from jaxft.workdir.snapshot import Best, Midway, Snapshot, pack, unpack


def weights(number, groups=("early", "late", "head")):
    """Weights of a number in every group; the head has no statistics."""
    params = {name: {"kernel": np.full(2, number)} for name in groups}
    return Weights(params, {n: {} if n == "head" else {"mean": np.full(1, number)} for n in groups})


MIDWAY = Midway(np.array(7, np.int32), {"trace": np.arange(3)}, weights(5, ("late", "head")))


@pytest.mark.parametrize("midway", [None, MIDWAY, MIDWAY._replace(average=None)])
def test_a_snapshot_comes_back_as_it_was(midway):
    wanted = Snapshot(weights(1), Best(weights(2), np.arange(4.0)), midway)
    np.testing.assert_equal(unpack(pack(wanted, Cursor())), wanted)


def test_the_last_weights_are_the_average_where_one_is_kept():
    best = Best(weights(2), np.zeros(0))
    last = Snapshot(weights(1), best, MIDWAY).last
    found = {name: tree["kernel"][0] for name, tree in last.params.items()}
    assert found == {"early": 1, "late": 5, "head": 5}
    assert Snapshot(weights(1), best).last.params["head"]["kernel"][0] == 1


def test_a_cursor_comes_back_as_it_was():
    cursor = Cursor(phase_index=2, phase=PhaseCursor(epoch=3, lr=0.1, cycles=[{"trn_loss": 1.0}]))
    assert Cursor.of(asdict(cursor)) == cursor


def test_a_cursor_of_the_version_before_goes_on_as_one_of_today_s():
    cursor = Cursor(phase=PhaseCursor(epoch=3, lr=0.1))
    assert Cursor.of({**asdict(cursor), "version": 2}) == cursor


def test_a_phase_begins_with_a_new_cursor():
    cursor = Cursor(phase=PhaseCursor(epoch=3, step=9, lr=0.1, cycles=[{"trn_loss": 2.5}]))
    cursor.next_phase({"name": "head"}, 4)
    begun = Cursor(phase_index=1, phases=[{"name": "head"}], trn_loss_before=2.5, back_to=4)
    assert cursor == begun


def test_checkpoints_of_another_version_are_refused():
    with pytest.raises(UserError, match="version 1; this jaxft resumes those of versions 2 to 4"):
        Cursor.of({"phase": 1, "lr": None})
