"""Checkpoints come back as they were saved, or not at all; one process holds a workdir."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxft.errors import UserError
from jaxft.runtime import digests
from jaxft.workdir import checkpoint
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.saving import Checkpoints


def example(number: int) -> Checkpoint:
    numbers = np.random.default_rng(number)
    params = {"early": {"kernel": numbers.normal(size=(64, 32)).astype(np.float32)}}
    stats = {"early": {"mean": np.arange(32.0)}, "late": {}}
    best = {"params": params, "batch_stats": stats, "losses": numbers.normal(size=7)}
    state = {**best, "opt_state": {"inner.0.trace": np.ones(3)}, "step": np.int32(number)}
    return Checkpoint(
        state, best, {"version": 4, "phase": number, "lr": None, "cycles": [{"loss": 0.1}]}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A workdir with the checkpoints 4 and 5."""
    workdir = tmp_path_factory.mktemp("written")
    checkpoints = Checkpoints(workdir, sealed={"classes.json": ["a", "b"]})
    for number in (3, 4, 5):
        checkpoints.save(number, example(number))
        checkpoints.wait()
    checkpoints.close()
    return workdir


@pytest.fixture
def workdir(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "run"))


def newest(workdir):
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.newest()
    finally:
        checkpoints.close()


def test_a_workdir_of_an_odd_name_holds_its_checkpoints(tmp_path):
    workdir = tmp_path / "-a {1}*? #%41 $(x) \u00e9" / "run's"
    checkpoint.demand_place(workdir)
    checkpoints = Checkpoints(workdir)
    checkpoints.save(1, example(1))
    checkpoints.close()
    assert_equal(checkpoint.read_newest(workdir), example(1))


@pytest.mark.parametrize("name", ["run[1]", "data [2024]/run", "a**b", "back\\slash"])
def test_a_path_that_would_be_read_as_a_pattern_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="is read as a pattern"):
        checkpoint.demand_place(tmp_path / name)


def assert_equal(found: Checkpoint, wanted: Checkpoint) -> None:
    assert found.cursor == wanted.cursor
    for name in checkpoint.ARRAYS:
        left, right = (digests.flat(getattr(c, name)) for c in (found, wanted))
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key], strict=True)


def largest_file(directory: Path) -> Path:
    return max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_round_trip(workdir):
    found, problems = newest(workdir)
    assert problems == []
    assert_equal(found, example(5))
    assert_equal(checkpoint.read_newest(workdir), example(5))


def test_the_newest_two_are_kept(workdir):
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4", "5"]


def test_plain_orbax_restores_the_same_dicts(workdir):
    with ocp.StandardCheckpointer() as reader:
        plain = reader.restore(workdir / "checkpoints" / "5" / "best")
    assert digests.digest(plain) == digests.digest(example(5).best)


def flip_bit(newest):
    path = largest_file(newest / "state")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_bit_of_best(newest):
    path = largest_file(newest / "best")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(newest):
    path = largest_file(newest / "state")
    os.truncate(path, path.stat().st_size // 2)


def cut_cursor(newest):
    path = largest_file(newest / "cursor")
    os.truncate(path, path.stat().st_size // 2)


def lose_item(newest):
    shutil.rmtree(newest / "best")


def empty(newest):
    shutil.rmtree(newest)
    newest.mkdir()


DAMAGES = [flip_bit, flip_bit_of_best, cut_short, cut_cursor, lose_item, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(damage, workdir):
    damage(workdir / "checkpoints" / "5")
    found, problems = newest(workdir)
    assert_equal(found, example(4))
    assert len(problems) == 1 and "checkpoint 5" in problems[0]
    assert len(problems[0]) < 250 and len(problems[0].splitlines()) == 1
    assert_equal(checkpoint.read_newest(workdir), example(4))


def test_who_only_reads_is_told_of_a_damaged_checkpoint(workdir, capfd):
    assert_equal(checkpoint.read_newest(workdir), example(5))
    assert capfd.readouterr().err == ""
    empty(workdir / "checkpoints" / "5")
    assert_equal(checkpoint.read_newest(workdir), example(4))
    told = capfd.readouterr().err
    assert told.startswith("warning: checkpoint 5 is damaged: ")
    assert told.endswith(f"; taking checkpoint 4 of {workdir}\n") and told.count("\n") == 1


def rewrite_cursor(workdir, change):
    file = workdir / "checkpoints" / "5" / "cursor" / "metadata"
    item = json.loads(file.read_text())
    change(item)
    file.write_text(json.dumps(item))


@pytest.mark.parametrize(
    "change",
    [
        lambda item: item.update(lr=0.5),
        lambda item: item.update(new_key=1),
        lambda item: item.pop("cycles"),
        lambda item: item["sealed"].update({"classes.json": ["a", "c"]}),
        lambda item: item["digests"].update(best="0" * 64),
        lambda item: item.pop("digest"),
    ],
)
def test_a_cursor_that_was_changed_is_passed_over_with_a_word(change, workdir):
    rewrite_cursor(workdir, change)
    found, problems = newest(workdir)
    assert_equal(found, example(4))
    assert problems == ["checkpoint 5 is damaged: the digest of cursor does not match its contents"]
    assert checkpoint.newest_cursor(workdir) == example(4).cursor


def test_no_flipped_bit_of_a_cursor_is_believed(workdir):
    file = workdir / "checkpoints" / "5" / "cursor" / "metadata"
    whole, numbers = file.read_bytes(), np.random.default_rng(0)
    for place in numbers.integers(8 * len(whole), size=100):
        data = bytearray(whole)
        data[place // 8] ^= 1 << (place % 8)
        file.write_bytes(data)
        assert checkpoint.newest_cursor(workdir) == example(4).cursor, (place, bytes(data))


def test_a_cursor_of_the_version_before_carries_no_digest(workdir):
    def as_before(item):
        item["version"] = 2
        del item["digest"], item["sealed"]

    rewrite_cursor(workdir, as_before)
    found, problems = newest(workdir)
    assert problems == []
    assert_equal(found, example(5)._replace(cursor={**example(5).cursor, "version": 2}))
    assert checkpoint.sealed(workdir) == {}


def test_only_numbers_are_checkpoints(workdir):
    for name in ("\u00b2", "\u0663", "notes", "-1"):
        (workdir / "checkpoints" / name).mkdir()
    assert checkpoint.steps(workdir) == [4, 5]


def test_an_empty_directory_of_a_later_step_is_passed_over(workdir):
    (workdir / "checkpoints" / "9").mkdir()
    assert_equal(newest(workdir)[0], example(5))
    assert_equal(checkpoint.read_newest(workdir), example(5))


def test_what_a_killed_save_leaves_is_cleared_by_the_next_save(workdir):
    """Orbax clears in the background; a save waits for it."""
    left = workdir / "checkpoints" / "7.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "5", left)
    checkpoints = Checkpoints(workdir)
    found, problems = checkpoints.newest()
    assert found
    assert_equal(found, example(5))
    assert problems == []
    checkpoints.save(6, example(6))
    checkpoints.close()
    assert not left.exists()
    assert_equal(newest(workdir)[0], example(6))


def test_the_checkpoint_that_a_cursor_names_stays_beside_the_newest_two(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for number, back_to in enumerate((0, 0, 2, 2, 2, 5, 5), 1):
        state, best, cursor = example(number)
        checkpoints.save(number, Checkpoint(state, best, {**cursor, "back_to": back_to}))
        checkpoints.wait()
        if number == 5:
            assert checkpoint.steps(tmp_path) == [2, 4, 5]
    checkpoints.close()
    assert checkpoint.steps(tmp_path) == [5, 6, 7]


def test_the_newest_whole_checkpoint_that_is_wanted(workdir):
    checkpoints = Checkpoints(workdir)
    found, problems = checkpoints.newest(lambda cursor: cursor["phase"] == 4)
    assert found and problems == []
    assert_equal(found, example(4))
    assert checkpoints.newest(lambda _: False) == (None, [])
    checkpoints.close()


def test_none_whole_lists_why(workdir):
    flip_bit(workdir / "checkpoints" / "5")
    empty(workdir / "checkpoints" / "4")
    found, problems = newest(workdir)
    assert found is None and len(problems) == 2
    with pytest.raises(UserError) as error:
        checkpoint.read_newest(workdir)
    assert len(error.value.offenders) == 2
    assert all(len(offender) < 250 for offender in error.value.offenders)


def test_removed_numbers_can_be_saved_again(workdir):
    checkpoints = Checkpoints(workdir)
    checkpoints.remove_after(4)
    checkpoints.save(5, example(50))
    checkpoints.close()
    assert_equal(checkpoint.read_newest(workdir), example(50))


def test_a_damaged_checkpoint_gives_its_number_back(workdir):
    flip_bit(workdir / "checkpoints" / "5")
    checkpoints = Checkpoints(workdir)
    found, _ = checkpoints.newest()
    assert found
    checkpoints.remove_after(found.cursor["phase"])
    checkpoints.save(5, example(50))
    checkpoints.close()
    assert_equal(checkpoint.read_newest(workdir), example(50))


def test_fill_lists_every_difference():
    like = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32), "c": np.zeros(1)}
    leaves = {"a": np.zeros((3, 2), np.float32), "b": np.zeros(4, np.float64), "d": np.zeros(1)}
    with pytest.raises(ValueError) as error:
        checkpoint.fill(like, leaves)
    problems = str(error.value).split("; ")
    assert problems == [
        "c is missing",
        "d is unexpected",
        "a is (3, 2) float32, not (2, 3) float32",
        "b is (4,) float64, not (4,) float32",
    ]


def test_fill_gives_back_what_flat_took():
    tree = {"a": (np.arange(3), [np.ones(2)]), "b": {"c": np.zeros(1)}}
    again = checkpoint.fill(tree, digests.flat(tree))
    assert digests.digest(again) == digests.digest(tree)
    assert isinstance(again["a"], tuple)


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.zeros(3, np.float64)},
        {"a": np.zeros((3, 1), np.float32)},
        {"b": np.zeros(3, np.float32)},
        {"a": np.asarray([0, 0, 1], np.float32)},
    ],
)
def test_digest_sees_names_shapes_types_and_numbers(other):
    assert digests.digest({"a": np.zeros(3, np.float32)}) != digests.digest(other)


@pytest.mark.slow
def test_a_second_process_is_turned_away(tmp_path):
    code = (
        "import sys; from jaxft.workdir import checkpoint; from jaxft.errors import UserError\n"
        "try:\n    checkpoint.lock(sys.argv[1]).__enter__()\n"
        "except UserError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with checkpoint.lock(tmp_path):
        held = subprocess.run(command, capture_output=True, text=True, check=True)
    free = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Another process" in held.stdout
    assert free.stdout == ""
