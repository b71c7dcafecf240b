"""The feature cache: what names an entry, and when an entry is believed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny

from jaxft import features, inputs, sharding

SPLIT = tiny.split(tiny.canvases(6), "train")
NET = tiny.model()
WEIGHTS = tiny.weights(NET)
DIGEST = features.weights_digest(*WEIGHTS)
ABOUT = {"model": "tiny", "dtype": "float32", "image_size": 16}
KEY = features.key(SPLIT, DIGEST, ABOUT)
ARRAY = np.random.default_rng(0).random((7, 5), np.float32)


def _no_call():
    raise AssertionError("computed, where the cache has it")


# What names an entry.


def test_the_same_things_have_the_same_key():
    again = replace(SPLIT, labels=SPLIT.labels.copy(), names=tuple("abcdef"))
    assert features.key(again, DIGEST, dict(reversed(ABOUT.items()))) == KEY


def test_labels_order_identity_and_number_of_examples_change_the_key():
    flipped = SPLIT.labels.copy()
    flipped[3] = (flipped[3] + 1) % 3
    others = [
        replace(SPLIT, labels=flipped),
        SPLIT.select([1, 0, 2, 3, 4, 5]),
        SPLIT.select(range(5)),
        replace(SPLIT, identity=(*SPLIT.identity[:5], "touched")),
    ]
    assert len({KEY, *(features.key(split, DIGEST, ABOUT) for split in others)}) == 5


@pytest.mark.parametrize(
    "change", [{"image_size": 24}, {"dtype": "bfloat16"}, {"model": "other"}, {"views": 2}]
)
def test_whatever_else_is_described_changes_the_key(change):
    assert features.key(SPLIT, DIGEST, {**ABOUT, **change}) != KEY


@pytest.mark.parametrize("kind", ["params", "batch_stats"])
@pytest.mark.parametrize("group", ["early", "late", "head"])
def test_every_number_of_the_body_counts_and_none_of_the_head(group, kind):
    changed = tiny.weights(NET)
    leaf = next(iter(next(iter(getattr(changed, kind)[group].values())).values()))
    leaf.flat[-1] = np.nextafter(leaf.flat[-1], np.float32(9))
    digest = features.weights_digest(*changed)
    assert (digest == DIGEST) == (group == "head")


def test_a_run_names_entries_by_size_interpolation_dtype_pooling_and_weights(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(
        features, "cached", lambda directory, name, compute: (names.append(name), (ARRAY, False))[1]
    )
    plain = tiny.materials(tmp_path)
    settings = plain.settings
    changed = tiny.weights(NET)
    changed.params["late"]["conv1"]["kernel"][0, 0, 0, 0] += 1
    cases = [
        (settings, WEIGHTS),
        (settings, changed),
        (replace(settings, data=replace(settings.data, image_size=24)), WEIGHTS),
        (replace(settings, data=replace(settings.data, interpolation="bicubic")), WEIGHTS),
        (replace(settings, model=replace(settings.model, dtype="bfloat16")), WEIGHTS),
        (replace(settings, model=replace(settings.model, pooling="avg")), WEIGHTS),
        (replace(settings, seed=5), WEIGHTS),
    ]
    for some, weights in cases:
        materials = plain._replace(settings=some)
        views.body_features(materials, weights, "train")
    assert len(set(names)) == 6
    assert names[0] == names[-1]  # the evaluation view has nothing random


# When an entry is believed.


@pytest.fixture
def entry(tmp_path):
    """(directory, array file, note file) of a stored entry."""
    found, hit = features.cached(tmp_path, "entry", lambda: ARRAY)
    assert found is ARRAY and not hit
    return tmp_path, tmp_path / "entry.npy", tmp_path / "entry.json"


def _recomputes(directory):
    found, hit = features.cached(directory, "entry", lambda: ARRAY + 1)
    np.testing.assert_array_equal(found, ARRAY + 1)
    assert not hit
    mended, hit = features.cached(directory, "entry", _no_call)
    np.testing.assert_array_equal(mended, ARRAY + 1)
    assert hit


def test_a_whole_entry_is_a_hit(entry):
    found, hit = features.cached(entry[0], "entry", _no_call)
    assert hit and found.dtype == ARRAY.dtype
    np.testing.assert_array_equal(found, ARRAY)
    assert sorted(file.name for file in entry[0].iterdir()) == ["entry.json", "entry.npy"]


def test_no_flipped_bit_of_the_file_is_believed(entry):
    whole = entry[1].read_bytes()
    for place in range(len(whole)):
        for bit in range(0, 8, 1 if place < 128 else 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            entry[1].write_bytes(damaged)
            found, hit = features.cached(entry[0], "entry", lambda: ARRAY)
            # Padding of the header may change: then all is still as it was.
            assert found.dtype == ARRAY.dtype
            np.testing.assert_array_equal(found, ARRAY)
            assert not hit or place < 128


def test_a_flipped_byte_is_computed_again_and_mended(entry):
    damaged = bytearray(entry[1].read_bytes())
    damaged[-3] ^= 4
    entry[1].write_bytes(damaged)
    _recomputes(entry[0])


@pytest.mark.parametrize("length", [0, 1, 5, 7, 40, 127, 128, 130, 267])
def test_a_file_cut_short_is_computed_again_and_mended(entry, length):
    entry[1].write_bytes(entry[1].read_bytes()[:length])
    _recomputes(entry[0])


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"sha256"', '{"sha256": 3}', "\xff"])
def test_a_note_that_says_nothing_is_computed_again(entry, text):
    entry[2].write_bytes(text.encode("latin-1"))
    _recomputes(entry[0])


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_half_is_computed_again(entry, missing):
    entry[missing].unlink()
    _recomputes(entry[0])


def test_an_array_of_another_entry_is_not_believed(entry):
    features.cached(entry[0], "other", lambda: ARRAY * 2)
    (entry[0] / "other.npy").replace(entry[1])
    _recomputes(entry[0])


def test_a_directory_that_cannot_be_written_costs_only_the_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for _ in range(2):
        found, hit = features.cached(blocked / "features", "entry", lambda: ARRAY)
        assert found is ARRAY and not hit


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    found, hit = features.cached(tmp_path, "entry", lambda: ARRAY)
    assert found is ARRAY and not hit
    assert list(tmp_path.iterdir()) == []


def test_the_note_is_json_for_people_too(entry):
    assert json.loads(entry[2].read_text())["shape"] == [7, 5]


def test_the_second_run_extracts_nothing(tmp_path, monkeypatch):
    materials = tiny.materials(tmp_path)
    weights = sharding.replicate(tiny.weights(materials.model), materials.mesh)
    arguments = (weights, "valid", materials.dataset.valid, materials.valid_images)
    first = inputs.body_features(materials, *arguments)
    assert first.shape == (13, materials.model.feature_size)
    monkeypatch.setattr(inputs, "extract", lambda *_: _no_call())
    np.testing.assert_array_equal(inputs.body_features(materials, *arguments), first)
