"""Cached views: their keys, an epoch's choice, and streaming that changes nothing."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny

from jaxft.augment.presets import PRESETS
from jaxft.data.feed import read_ahead
from jaxft.data.order import host_order, host_rows
from jaxft.devices import sharding
from jaxft.features import cache
from jaxft.features.inference import make_forward
from jaxft.materials import extraction
from jaxft.materials.extraction import view_features
from jaxft.training import fit, runners, step
from jaxft.training.cached import resident_runner
from jaxft.training.phase_spec import make_spec
from jaxft.training.runners import FedRunner
from jaxft.training.train_state import TrainBatch

PHASE = tiny.phase(inputs="cached", views=3)


def _weights(materials):
    return sharding.replicate(tiny.weights(materials.model), materials.mesh)


def _changed(materials, **sections):
    """The materials with other settings: `data=dict(...)` replaces keys of that section."""
    settings = materials.settings
    for name, keys in sections.items():
        value = keys
        if isinstance(keys, dict):
            value = replace(getattr(settings, name), **keys)
        settings = replace(settings, **{name: value})
    return materials._replace(settings=settings)


# What names an entry.


def _keys(materials, weights, monkeypatch, number=0, which="train"):
    """The entry that a view is looked for in."""
    names = []

    def cached(directory, name, *_):
        names.append(name)
        return [np.zeros((1, 1))], 0

    monkeypatch.setattr(cache, "cached", cached)
    view_features(materials, weights, which, number)
    return names[0]


def test_an_entry_is_named_by_size_interpolation_fit_dtype_pooling_and_weights(
    tmp_path, monkeypatch
):
    plain = tiny.materials(tmp_path)
    weights, changed = tiny.weights(plain.model), tiny.weights(plain.model)
    changed.params["late"]["conv1"]["kernel"][0, 0, 0, 0] += 1
    cases = [
        (plain, weights),
        (plain, changed),
        (plain._replace(image_size=24), weights),
        (_changed(plain, data={"interpolation": "bicubic"}), weights),
        (_changed(plain, data={"fit": "squash"}), weights),
        (_changed(plain, data={"fit": "pad"}), weights),
        (_changed(plain, model={"dtype": "bfloat16"}), weights),
        (_changed(plain, model={"pooling": "avg"}), weights),
    ]
    names = [_keys(some, given, monkeypatch) for some, given in cases]
    assert len(set(names)) == len(cases)


def test_entries_of_cropped_images_have_the_names_that_they_always_had(tmp_path):
    materials = tiny.materials(tmp_path)
    usual = {"model", "dtype", "pooling", "mean", "std", "image_size", "interpolation"}
    assert extraction.describe(materials, 0).keys() == usual
    assert extraction.describe(materials, 1).keys() == usual | {"view"}


def test_the_evaluation_view_has_nothing_random(tmp_path, monkeypatch):
    plain = tiny.materials(tmp_path)
    weights = tiny.weights(plain.model)
    others = [
        _changed(plain, seed=5),
        _changed(plain, data={"views_seed": 5}),
        _changed(plain, augment=PRESETS["top_down"]),
    ]
    names = {_keys(some, weights, monkeypatch) for some in (plain, *others)}
    assert len(names) == 1


def test_a_random_view_is_named_by_its_number_its_seed_and_the_augmentation(tmp_path, monkeypatch):
    plain = tiny.materials(tmp_path)
    weights = tiny.weights(plain.model)
    cases = [
        (plain, 0),
        (plain, 1),
        (plain, 2),
        (_changed(plain, data={"views_seed": 5}), 1),
        (_changed(plain, augment={"max_zoom": 1.2}), 1),
    ]
    names = [_keys(some, weights, monkeypatch, number) for some, number in cases]
    assert len(set(names)) == len(cases)
    # Runs of other seeds share it.
    assert _keys(_changed(plain, seed=5), weights, monkeypatch, 1) == names[1]


# What is computed.


def _extractions(monkeypatch):
    """Return the list to which every extraction will add its view."""
    seen = []
    extract = extraction.extract_parts

    def watched(materials, weights, images, what, view=None, **rest):
        seen.append((what, view))
        return extract(materials, weights, images, what, view, **rest)

    monkeypatch.setattr(extraction, "extract_parts", watched)
    return seen


def _of_phase(materials, count):
    weights = _weights(materials)
    return [
        cache.whole(view_features(materials, weights, "train", number, count))
        for number in range(count)
    ]


def test_more_views_compute_only_those_that_are_not_there(tmp_path, monkeypatch):
    materials = tiny.materials(tmp_path)
    seen = _extractions(monkeypatch)
    four = _of_phase(materials, 4)
    assert len(seen) == 4 and seen[0][1] is None
    eight = _of_phase(materials, 8)
    assert [view.number for _, view in seen[4:]] == [4, 5, 6, 7]
    for before, now in zip(four, eight, strict=False):
        np.testing.assert_array_equal(before, now)
    assert len({view.tobytes() for view in eight}) == 8


@pytest.mark.slow
def test_a_view_is_the_example_s_own_whatever_the_batch(tmp_path):
    one = _of_phase(tiny.materials(tmp_path / "a", batch_size=8), 2)
    other = _of_phase(tiny.materials(tmp_path / "b", batch_size=20, devices=4), 2)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-5, atol=1e-5)


def test_without_strength_a_random_view_is_the_evaluation_view(tmp_path):
    plain, drawn = _of_phase(_without_augmentation(tmp_path), 2)
    np.testing.assert_allclose(drawn, plain, rtol=1e-5, atol=1e-5)


def _without_augmentation(directory):
    materials = _changed(tiny.materials(directory), augment=PRESETS["none"])
    forward = make_forward(
        materials.model, PRESETS["none"], materials.settings.data.image_size, materials.mesh
    )
    return materials._replace(forward=forward)


@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupted_extraction_goes_on_and_gives_the_same_bits(tmp_path, monkeypatch, number):
    monkeypatch.setattr(cache, "PART_EXAMPLES", 16)
    materials = tiny.materials(tmp_path / "whole")
    weights = _weights(materials)
    expected = view_features(materials, weights, "train", number)
    assert [len(part) for part in expected] == [16, 16, 8]
    broken = tiny.materials(tmp_path / "broken")
    store, stored = cache._store, []

    def stopped(file, part):
        store(file, part)
        stored.append(len(part))
        if sum(stored) == 32:
            raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_store", stopped)
    with pytest.raises(KeyboardInterrupt):
        view_features(broken, weights, "train", number)
    got = view_features(broken, weights, "train", number)
    assert stored == [16, 16, 8]
    np.testing.assert_array_equal(cache.whole(got), cache.whole(expected))


def test_the_long_side_of_a_random_view_is_cropped_at_random(tmp_path, monkeypatch):
    materials = tiny.materials(tmp_path)
    given = []

    def extract(*_, shares, **__):
        given.append(shares)
        yield np.zeros((40, 4), np.float32)

    monkeypatch.setattr(extraction, "extract_parts", extract)
    for number in range(3):
        view_features(materials, _weights(materials), "train", number)
    assert given[0] is None and len(given[1]) == 40
    assert given[1].min() >= 0 and given[1].max() < 1
    assert not np.array_equal(given[1], given[2])


# What an epoch takes.


def _rows(seed, phase, epoch, examples, count):
    order = host_order(seed, phase, epoch, examples)
    return host_rows(order, seed, phase, epoch, count)


def test_one_view_is_taken_in_the_epoch_s_order():
    rows = _rows(3, 1, 2, 50, 1)
    np.testing.assert_array_equal(rows, host_order(3, 1, 2, 50))


def test_every_example_is_taken_once_by_one_of_its_views():
    rows = _rows(3, 1, 2, 4000, 4)
    np.testing.assert_array_equal(rows % 4000, host_order(3, 1, 2, 4000))
    counts = np.bincount(rows // 4000, minlength=4)
    assert len(counts) == 4 and abs(counts - 1000).max() < 110  # 4 standard deviations


def test_views_follow_from_seed_phase_and_epoch():
    def drawn(seed, phase, epoch):
        return _rows(seed, phase, epoch, 64, 4) // 64

    np.testing.assert_array_equal(drawn(3, 1, 2), drawn(3, 1, 2))
    assert len({tuple(drawn(*n)) for n in ((3, 1, 2), (4, 1, 2), (3, 2, 2), (3, 1, 3))}) == 4


def _train(materials, runner, epochs=2):
    """The head and the losses after `epochs` epochs of a runner."""
    spec = make_spec(materials, 0)
    state, frozen = step.start(spec, _weights(materials))
    state = sharding.replicate(state, materials.mesh)
    steps = epochs * spec.steps_per_epoch
    rates = sharding.replicate(np.full(steps, 0.1, np.float32), materials.mesh)
    losses = []

    def sink(_, loss):
        losses.append(loss)
        return True

    seed = materials.seed()
    state, done, _ = runner(state, frozen, rates, seed, 0, steps, sink)
    assert done == steps == len(losses)
    return sharding.fetch(state.params["head"]), losses


def _runner(materials):
    return fit.make_runner(make_spec(materials, 0), materials, _weights(materials))


@pytest.mark.slow
def test_the_device_takes_the_rows_that_the_host_names(tmp_path):
    """Features that tell their row: a head of one step on them is that of the rows by hand."""
    materials = tiny.materials(tmp_path, phases=(PHASE,))
    spec = make_spec(materials, 0)
    found = np.random.default_rng(0).random((120, materials.model.feature_size), np.float32)
    head, losses = _train(materials, resident_runner(spec, materials, found))
    labels = materials.dataset.train.labels

    def by_hand(number):
        epoch, within = divmod(number, 5)
        rows = _rows(0, 0, epoch, 40, 3)[within * 8 : (within + 1) * 8]
        batch = TrainBatch(found[rows], labels[rows % 40])
        return sharding.split_batch(batch, materials.mesh)

    fed = FedRunner(
        step.make_step(spec, materials.mesh),
        spec,
        materials,
        lambda first, steps: read_ahead(by_hand, range(first, first + steps)),
    )
    with runners.closing(fed):
        again, losses_again = _train(materials, fed)
    np.testing.assert_allclose(losses, losses_again, rtol=1e-5)
    for mine, other in zip(_leaves(head), _leaves(again), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def _leaves(tree):
    return jax.tree.leaves(tree)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(1, 1), (3, 4)])
def test_streaming_gives_the_head_that_features_on_the_device_give(tmp_path, count, devices):
    phase = tiny.phase(inputs="cached", views=count)
    held = tiny.materials(tmp_path, phases=(phase,), devices=devices)
    streamed = _changed(held, data={"cache_memory_gb": 0.0})
    head, losses = _train(held, _runner(held))
    head_streamed, losses_streamed = _train(streamed, _runner(streamed))
    np.testing.assert_allclose(losses_streamed, losses, rtol=1e-5)
    for mine, other in zip(_leaves(head_streamed), _leaves(head), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_what_is_too_large_for_the_device_stays_in_mapped_files(tmp_path, monkeypatch):
    seen = []
    cached = cache.cached

    def watched(*arguments):
        parts, found = cached(*arguments)
        seen.extend(parts)
        return parts, found

    monkeypatch.setattr(cache, "cached", watched)
    materials = tiny.materials(tmp_path, phases=(PHASE,))
    size = 3 * 40 * materials.model.feature_size * 4 / 2**30
    for limit, kind in ((size, np.ndarray), (size * 0.99, np.memmap)):
        seen.clear()
        _runner(_changed(materials, data={"cache_memory_gb": limit}))
        assert {type(part) for part in seen} == {kind}


def test_the_note_on_augmentation_is_said_of_one_view_only():
    one, three = tiny.phase(inputs="cached"), PHASE
    assert "augmentation has no effect" in fit._describe(one)
    assert "augmentation has no effect" not in fit._describe(three)
    assert "3 views of each image" in fit._describe(three)
    assert "cached" not in fit._describe(tiny.phase(views=3))
