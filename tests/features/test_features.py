"""The feature cache: keys of entries, checks of parts, and reading."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from jaxft.features import cache

pytestmark = pytest.mark.one_device

SPLIT = tiny.split(tiny.canvases(6), "train")
NET = tiny.model()
WEIGHTS = tiny.weights(NET)
DIGEST = cache.weights_digest(*WEIGHTS)
ABOUT = {"model": "tiny", "dtype": "float32", "image_size": 16}
KEY = cache.key(SPLIT, DIGEST, ABOUT)
ARRAY = np.random.default_rng(0).random((7, 5), np.float32)


def _no_call(first):
    raise AssertionError("computed, where the cache has it")


# What names an entry.


def test_the_same_things_have_the_same_key():
    again = replace(SPLIT, labels=SPLIT.labels.copy(), names=tuple("abcdef"))
    assert cache.key(again, DIGEST, dict(reversed(ABOUT.items()))) == KEY


def test_labels_order_identity_and_number_of_examples_change_the_key():
    flipped = SPLIT.labels.copy()
    flipped[3] = (flipped[3] + 1) % 3
    others = [
        replace(SPLIT, labels=flipped),
        SPLIT.select([1, 0, 2, 3, 4, 5]),
        SPLIT.select(range(5)),
        replace(SPLIT, identity=(*SPLIT.identity[:5], "touched")),
    ]
    assert len({KEY, *(cache.key(split, DIGEST, ABOUT) for split in others)}) == 5


@pytest.mark.parametrize(
    "change", [{"image_size": 24}, {"dtype": "bfloat16"}, {"model": "other"}, {"views": 2}]
)
def test_whatever_else_is_described_changes_the_key(change):
    assert cache.key(SPLIT, DIGEST, {**ABOUT, **change}) != KEY


@pytest.mark.parametrize("kind", ["params", "batch_stats"])
@pytest.mark.parametrize("group", ["early", "late", "head"])
def test_every_number_of_the_body_counts_and_none_of_the_head(group, kind):
    changed = tiny.weights(NET)
    leaf = next(iter(next(iter(getattr(changed, kind)[group].values())).values()))
    leaf.flat[-1] = np.nextafter(leaf.flat[-1], np.float32(9))
    digest = cache.weights_digest(*changed)
    assert (digest == DIGEST) == (group == "head")


# When an entry is believed.


def _parts(of=ARRAY, size=3):
    """Return a function that yields `of` from a row on, in parts of this many rows."""

    def compute(first):
        for start in range(first, len(of), size):
            yield of[start : start + size]

    return compute


def _cached(directory, compute, mapped=False):
    parts, found = cache.cached(directory, "entry", len(ARRAY), compute, mapped)
    return cache.whole(parts), found


@pytest.fixture
def entry(tmp_path):
    """A directory with a stored entry of three parts: rows 0 to 2, 3 to 5, 6."""
    got, found = _cached(tmp_path, _parts())
    np.testing.assert_array_equal(got, ARRAY)
    assert found == 0
    return tmp_path


def _file(directory, first):
    return directory / f"entry.{first:09}.npy"


def _recomputes(directory, found):
    """All but the first `found` rows are computed, and stored for the next time."""
    got, rows = _cached(directory, _parts(ARRAY + 1))
    np.testing.assert_array_equal(got[:found], ARRAY[:found])
    np.testing.assert_array_equal(got[found:], ARRAY[found:] + 1)
    assert rows == found
    again, rows = _cached(directory, _no_call)
    np.testing.assert_array_equal(again, got)
    assert rows == len(ARRAY)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_whole_entry_is_a_hit(entry, mapped):
    got, found = _cached(entry, _no_call, mapped)
    assert found == 7 and got.dtype == ARRAY.dtype
    np.testing.assert_array_equal(got, ARRAY)
    assert sorted(entry.iterdir()) == [_file(entry, first) for first in (0, 3, 6)]


def test_no_flipped_bit_of_a_file_is_believed(entry):
    file = _file(entry, 6)
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in range(0, 8, 1 if place < 128 else 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            got, found = _cached(entry, _parts())
            # Padding of the header may change: then all is still as it was.
            assert got.dtype == ARRAY.dtype
            np.testing.assert_array_equal(got, ARRAY)
            assert found == 6 or place < 128


@pytest.mark.parametrize("first", [0, 3, 6])
def test_an_extraction_goes_on_from_its_last_whole_part(entry, first):
    _file(entry, first).unlink()
    _recomputes(entry, first)


@pytest.mark.parametrize("length", [0, 1, 5, 7, 40, 127, 128, 130, 219])
def test_a_part_cut_short_is_computed_again_and_mended(entry, length):
    whole = _file(entry, 3).read_bytes()
    assert len(whole) == 220
    _file(entry, 3).write_bytes(whole[:length])
    _recomputes(entry, 3)


def test_a_part_of_another_entry_or_place_is_not_believed(entry):
    cache.cached(entry, "other", 3, _parts(ARRAY[:3] * 2))
    (entry / "other.000000000.npy").replace(_file(entry, 0))
    _recomputes(entry, 0)
    _file(entry, 3).replace(_file(entry, 6))
    assert _cached(entry, _parts())[1] == 3


def test_rows_that_nobody_asked_for_are_not_believed(entry):
    parts, found = cache.cached(entry, "entry", 5, _parts(ARRAY[:5] + 1))
    assert found == 3 and len(cache.whole(parts)) == 5


def test_an_empty_part_is_not_believed(entry):
    cache._store(_file(entry, 3), ARRAY[:0])
    _recomputes(entry, 3)


def test_runs_with_parts_of_other_sizes_share_an_entry(entry):
    _file(entry, 3).unlink()
    got, found = _cached(entry, _parts(size=2))
    np.testing.assert_array_equal(got, ARRAY)
    assert found == 3 and _file(entry, 5).exists()
    assert _cached(entry, _no_call)[1] == 7


@pytest.mark.parametrize("mapped", [False, True])
def test_a_directory_that_cannot_be_written_costs_only_the_cache(tmp_path, mapped):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for _ in range(2):
        got, found = _cached(blocked / "features", _parts(), mapped)
        np.testing.assert_array_equal(got, ARRAY)
        assert found == 0


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    got, found = _cached(tmp_path, _parts())
    np.testing.assert_array_equal(got, ARRAY)
    assert found == 0 and list(tmp_path.iterdir()) == []


def test_an_interrupted_extraction_leaves_its_whole_parts(tmp_path):
    def interrupted(first):
        yield from list(_parts()(first))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _cached(tmp_path, interrupted)
    _recomputes(tmp_path, 6)


def test_parts_are_whole_batches_and_not_too_many(monkeypatch):
    monkeypatch.setattr(cache, "PART_EXAMPLES", 100)
    assert cache.part_examples(50, 32) == 128
    assert cache.part_examples(10**6, 32) == 15648  # a 64th, and a whole number of 32
    assert 15648 % 32 == 0 and 15648 * 64 >= 10**6


# Rows in parts.


def test_rows_are_taken_in_any_order_across_parts(entry):
    parts, _ = cache.cached(entry, "entry", 7, _no_call, mapped=True)
    assert all(isinstance(part, np.memmap) for part in parts)
    rows = cache.Rows([*parts, ARRAY[:2]])
    chosen = np.array([8, 0, 6, 3, 3, 5, 7, 2])
    assert len(rows) == 9
    np.testing.assert_array_equal(rows.take(chosen), np.concatenate([ARRAY, ARRAY])[chosen])


def test_mapped_rows_outlive_the_files(entry):
    parts, _ = cache.cached(entry, "entry", 7, _no_call, mapped=True)
    for file in entry.iterdir():
        file.unlink()
    np.testing.assert_array_equal(cache.whole(parts), ARRAY)
