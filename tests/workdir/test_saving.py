"""Saving holds nothing up; what is needed is written, and what was written reads back."""

import threading

import numpy as np
import pytest

from jaxft.runtime import digests
from jaxft.workdir import checkpoint
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.saving import Checkpoints


def example(number, back_to=0, best=None):
    params = {"head": {"kernel": np.full((4, 3), number, np.float32)}}
    best = params if best is None else {"head": {"kernel": np.full((4, 3), best, np.float32)}}
    cursor = {"version": 3, "phase": number, "back_to": back_to}
    return Checkpoint({"params": params}, {"params": best}, cursor)


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    yield checkpoints
    checkpoints.close()


@pytest.fixture
def gate(monkeypatch):
    """Shut, it keeps every digest from being made; yields what opens it."""
    opened = threading.Event()

    def waiting(tree):
        assert opened.wait(30)
        return digests.digest(tree)

    monkeypatch.setattr("jaxft.workdir.saving.digest", waiting)
    yield opened
    opened.set()


def test_saves_wait_neither_for_digests_nor_for_each_other(checkpoints, gate, tmp_path):
    for number in (1, 2, 3):
        checkpoints.save(number, example(number))
    assert checkpoints.busy and checkpoint.steps(tmp_path) == []
    gate.set()
    checkpoints.wait()
    assert not checkpoints.busy
    assert checkpoint.steps(tmp_path) == [1, 3], "the second gave way to the third"
    assert checkpoint.read_newest(tmp_path).cursor["phase"] == 3


def test_a_checkpoint_to_go_back_to_gives_way_to_none(checkpoints, gate, tmp_path):
    checkpoints.save(1, example(1))
    checkpoints.save(2, example(2, back_to=2))
    threading.Timer(0.05, gate.set).start()
    checkpoints.save(3, example(3, back_to=2))
    checkpoints.save(4, example(4, back_to=2))
    checkpoints.wait()
    assert 2 in checkpoint.steps(tmp_path) and 4 in checkpoint.steps(tmp_path)


def test_what_cannot_be_written_is_told_by_the_next_save(checkpoints, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    checkpoints.save(1, example(1))
    while checkpoints.busy:
        pass
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, example(2))
