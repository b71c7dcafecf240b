"""Saving holds nothing up; what is needed is written, and what was written reads back."""

import shutil
import threading

import numpy as np
import pytest

from jaxft.errors import UserError
from jaxft.runtime import digests
from jaxft.workdir import checkpoint
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.saving import Checkpoints


def example(number, back_to=0, best=None):
    params = {"head": {"kernel": np.full((4, 3), number, np.float32)}}
    best = params if best is None else {"head": {"kernel": np.full((4, 3), best, np.float32)}}
    cursor = {"version": 4, "phase": number, "back_to": back_to}
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


def save(checkpoints, number, **about):
    checkpoints.save(number, example(number, **about))
    checkpoints.wait()


def items(workdir, number):
    return {place.name for place in (workdir / "checkpoints" / str(number)).iterdir()}


def best_of(workdir):
    kernel = checkpoint.read_newest(workdir).best["params"]["head"]["kernel"]
    return float(kernel[0, 0])


def test_a_best_epoch_is_written_once_and_stays(checkpoints, tmp_path):
    for number, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        save(checkpoints, number, best=best)
    assert "best" in items(tmp_path, 2)
    assert not any("best" in items(tmp_path, number) for number in (4, 5))
    assert checkpoint.steps(tmp_path) == [1, 2, 4, 5], "the first is there if the second is damaged"
    assert best_of(tmp_path) == 2
    save(checkpoints, 6, best=6)
    save(checkpoints, 7, best=6)
    assert checkpoint.steps(tmp_path) == [2, 6, 7]
    assert best_of(tmp_path) == 6


def test_a_run_that_is_resumed_writes_no_best_epoch_again(tmp_path):
    for number in (1, 2, 3, 4):
        checkpoints = Checkpoints(tmp_path)
        found, problems = checkpoints.newest()
        assert problems == [] and (found is None or found.cursor["phase"] == number - 1)
        save(checkpoints, number, best=1)
        checkpoints.close()
    assert checkpoint.steps(tmp_path) == [1, 3, 4]
    assert not any("best" in items(tmp_path, number) for number in (3, 4))
    assert best_of(tmp_path) == 1


def test_a_damaged_best_epoch_costs_no_run(checkpoints, tmp_path):
    for number, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        save(checkpoints, number, best=best)
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "best")
    again = Checkpoints(tmp_path)
    found, problems = again.newest()
    assert found and found.cursor["phase"] == 1 and len(problems) == 3
    again.remove_after(1)
    save(again, 2, best=2)
    assert "best" in items(tmp_path, 2) and best_of(tmp_path) == 2
    again.close()


def test_a_best_epoch_whose_checkpoint_failed_is_written_with_the_next(
    checkpoints, gate, monkeypatch, tmp_path
):
    written = checkpoints._manager.save

    def full_once(*arguments, **named):
        monkeypatch.setattr(checkpoints._manager, "save", written)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full_once)
    checkpoints.save(1, example(1, best=1))
    checkpoints.save(2, example(2, best=1))
    gate.set()
    with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    assert best_of(tmp_path) == 1


def test_a_checkpoint_to_go_back_to_keeps_its_best_epoch(tmp_path):
    for number, best in ((1, 1), (2, 1), (3, 3), (4, 4), (5, 5)):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.newest()
        save(checkpoints, number, best=best, back_to=2 if number >= 2 else 0)
        checkpoints.close()
    assert checkpoint.steps(tmp_path) == [1, 2, 4, 5]
    two = checkpoint.read(tmp_path / "checkpoints" / "2")
    assert two.best["params"]["head"]["kernel"][0, 0] == 1


@pytest.fixture
def damaging(checkpoints, monkeypatch, tmp_path):
    """Damages every checkpoint once it is whole, as a bad disk would; yields their numbers."""
    whole, damaged = checkpoints._manager.check_for_errors, []

    def damage():
        whole()
        for number in checkpoint.steps(tmp_path):
            if number not in damaged:
                shutil.rmtree(tmp_path / "checkpoints" / str(number) / "state" / "d")
                damaged.append(number)

    monkeypatch.setattr(checkpoints._manager, "check_for_errors", damage)
    return damaged


def test_a_first_checkpoint_that_does_not_read_back_ends_the_run(checkpoints, damaging):
    checkpoints.save(1, example(1))
    while checkpoints.busy:
        pass
    with pytest.raises(UserError, match="does not read back") as error:
        checkpoints.save(2, example(2))
    assert damaging == [1]
    assert len(error.value.offenders) == 1 and "checkpoint 1 is damaged" in error.value.offenders[0]


def test_a_bit_that_is_flipped_on_its_way_is_seen(checkpoints, monkeypatch):
    digested = digests.digest

    def flipping(tree):
        told = digested(tree)
        tree["params"]["head"]["kernel"][0, 0] += 1
        return told

    monkeypatch.setattr("jaxft.workdir.saving.digest", flipping)
    checkpoints.save(1, example(1, best=5))
    with pytest.raises(UserError, match="does not read back") as error:
        checkpoints.wait()
    assert "the digest of state does not match" in error.value.offenders[0]


def test_only_a_start_s_first_checkpoint_is_read_back(checkpoints, monkeypatch):
    seen = []
    monkeypatch.setattr("jaxft.workdir.saving.read", lambda place: seen.append(place.name))
    for number in (1, 2, 3):
        save(checkpoints, number)
    assert seen == ["1"]


def test_a_best_epoch_that_was_forgotten_is_written_again(checkpoints, tmp_path):
    save(checkpoints, 1, best=1)
    checkpoints.remove_after(0)
    save(checkpoints, 1, best=2)
    save(checkpoints, 2, best=3)
    checkpoints.remove_after(1)
    save(checkpoints, 2, best=3)
    assert "best" in items(tmp_path, 2) and best_of(tmp_path) == 3
