"""Room is looked at before it is needed; only the leftovers of killed writers are removed."""

import os
import shutil
import time
from typing import NamedTuple

import numpy as np
import pytest

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.workdir import room
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.saving import Checkpoints

WEIGHTS = {"kernel": np.zeros(1000, np.float32), "mean": np.zeros((2, 50), np.float32)}


class Usage(NamedTuple):
    free: int


@pytest.fixture
def free(monkeypatch):
    """Let disks have this many bytes free."""
    return lambda number: monkeypatch.setattr(
        shutil, "disk_usage", lambda place: Usage(number if place.exists() else 0)
    )


def test_a_disk_without_room_for_one_checkpoint_is_refused(free, tmp_path):
    workdir = tmp_path / "not" / "yet" / "there"
    free(2 * 4400)
    room.demand(workdir, WEIGHTS)
    free(2 * 4400 - 1)
    with pytest.raises(UserError) as error:
        room.demand(workdir, WEIGHTS)
    assert error.value.title == (
        f"8.8 KB are free on the disk of {workdir}, and a checkpoint takes 8.8 KB"
    )


def test_a_disk_that_tells_nothing_refuses_nothing(monkeypatch, tmp_path):
    def unknown(_):
        raise OSError("not here")

    monkeypatch.setattr(shutil, "disk_usage", unknown)
    room.demand(tmp_path, WEIGHTS)


def test_a_run_is_warned_once_before_its_disk_is_full(free, tmp_path):
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, say=said.append)
    for number, left in enumerate((8800, 8799, 8799), 1):
        free(left)
        best = {"kernel": np.full(1100, number, np.float32)}
        checkpoints.save(number, Checkpoint(WEIGHTS, best, {"version": 4}))
        checkpoints.wait()
        assert len(said) == (number > 1)
    free(4400)  # enough where the best epoch is not written again
    checkpoints.save(4, Checkpoint(WEIGHTS, best, {"version": 4}))
    checkpoints.close()
    assert len(said) == 1 and said[0].startswith("warning: 8.8 KB are free on the disk of ")


def age(file, seconds):
    os.utime(file, (time.time() - seconds, time.time() - seconds))


def unfinished(place):
    """Leave in a folder what a writer does that is killed, and return that file."""
    before = set(place.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: None)
        paths.write(place / "metrics.jsonl", lambda file: file.write(b"half"))
    (file,) = set(place.iterdir()) - before
    return file


def test_what_killed_writers_left_is_removed(tmp_path):
    workdir, cache = tmp_path / "run", tmp_path / "cache"
    for folder in (workdir / "valid", cache / "features"):
        folder.mkdir(parents=True)
    gone = [(workdir, 61), (workdir / "valid", 61), (cache, 86401), (cache / "features", 86401)]
    kept = [(workdir, 30), (cache / "features", 3600)]
    for place, seconds in gone:
        age(unfinished(place), seconds)
    left = []
    for place, seconds in kept:
        left.append(unfinished(place))
        age(left[-1], seconds)
    room.clear(workdir, cache)
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == sorted(left)


@pytest.mark.parametrize(
    "name",
    [
        ".metrics.jsonl.original",
        ".notes.20261127",
        ".jaxft-notes.tmp",
        ".jaxft-abcdefgh",
        "jaxft-abcdefgh.tmp",
        ".jaxft-abcdefgh.tmp2",
    ],
)
def test_no_file_of_a_user_s_is_removed(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(b"mine")
    folder = tmp_path / ".jaxft-afolder1.tmp"
    folder.mkdir()
    link = tmp_path / ".jaxft-a_link_1.tmp"
    link.symlink_to(file)
    for each in (file, folder):
        age(each, 1e6)
    room.clear(tmp_path, tmp_path)
    assert file.read_bytes() == b"mine" and folder.is_dir() and link.is_symlink()


def test_a_cache_that_is_not_there_has_no_leftovers(tmp_path):
    room.clear(tmp_path / "run", tmp_path / "cache")
