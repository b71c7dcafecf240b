"""BatchNorm gets the statistics of the training images, and the network's output stays the same."""

import dataclasses
from functools import cache, partial

import jax
import numpy as np
import pytest
import tiny

from jaxft.config import load
from jaxft.configs import base
from jaxft.devices import sharding
from jaxft.errors import Interrupted
from jaxft.models.variables import Weights
from jaxft.runtime.ballot import Stop
from jaxft.training import rebase, statistics
from jaxft.training.spec import spec_of
from jaxft.training.train_state import TrainBatch

NET = tiny.model()
WEIGHTS = tiny.weights(NET, np.float64)
BODY = ("early", "late")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def images(seed: int = 0) -> np.ndarray:
    """Eight of them, far from what the body's statistics expect."""
    return np.random.default_rng(seed).normal(0.7, 3.0, size=(8, 16, 16, 3))


@partial(jax.jit, static_argnums=2)
def features(weights, x, training=()):
    return NET.features(weights.params, weights.batch_stats, x, training=training)[0]


@jax.jit
def moments(weights, x):
    return NET.moments(weights.params, weights.batch_stats, x)


def rebased(found) -> Weights:
    params, stats = dict(WEIGHTS.params), dict(WEIGHTS.batch_stats)
    for group in BODY:
        params[group], stats[group] = statistics.with_statistics(
            params[group], stats[group], found[group], NET.body.eps
        )
    return Weights(params, stats)


def test_new_statistics_leave_the_network_as_it_is():
    random = np.random.default_rng(2)
    drawn = {group: WEIGHTS.batch_stats[group] for group in BODY}
    after = rebased(jax.tree.map(lambda leaf: 5 * random.random(leaf.shape), drawn))
    before, now = (features(weights, images()) for weights in (WEIGHTS, after))
    np.testing.assert_allclose(now, before, rtol=1e-9)
    for group in BODY:
        stats = (weights.batch_stats[group] for weights in (WEIGHTS, after))
        assert all(jax.tree.leaves(jax.tree.map(lambda old, new: (old != new).all(), *stats)))


def test_the_batch_that_was_measured_then_trains_with_the_features_that_the_head_knows():
    x = images()
    known = features(WEIGHTS, x)
    after = rebased(statistics.pooled([moments(WEIGHTS, x)]))
    np.testing.assert_allclose(features(after, x, BODY), known, rtol=1e-9)
    assert np.abs(features(WEIGHTS, x, BODY) - known).max() > 0.1


def test_batches_are_pooled_into_the_moments_of_all_of_them():
    parts = images(0), 2 + images(1)
    found = statistics.pooled([moments(WEIGHTS, part) for part in parts])
    whole = moments(WEIGHTS, np.concatenate(parts))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), found, dict(whole))


def spec_with(bn: str, **changes):
    """A phase whose epoch is one step, of all 40 training images."""
    phase = tiny.phase(groups=tiny.ALL_GROUPS, bn=bn, **changes)
    return tiny.spec(NET, phase, batch_size=40, examples=40)


@cache
def after_measuring(devices: int = 1, microbatches: int = 1) -> Weights:
    materials = tiny.materials(None, devices=devices, batch_size=40)
    spec = spec_with("rebased", microbatches=microbatches)
    weights = sharding.replicate(WEIGHTS, materials.mesh)
    measured: Weights = sharding.fetch(rebase.rebase(spec, materials, weights).weights)
    return measured


def test_only_a_body_that_trains_so_is_measured():
    assert spec_with("rebased").rebased == {"early", "late"}
    assert spec_with("train").rebased == spec_with("frozen").rebased == frozenset()
    assert tiny.spec(NET, tiny.phase(bn="rebased")).rebased == frozenset()


def test_groups_that_are_frozen_keep_their_statistics():
    phase = tiny.phase(groups={"late": 0.5, "head": 1.0}, bn="rebased")
    assert tiny.spec(NET, phase).rebased == {"late"}


@pytest.mark.slow
def test_the_distance_is_that_of_the_last_group_at_one_size(monkeypatch):
    materials, spec = tiny.materials(None, batch_size=40), spec_with("rebased")
    moments = rebase.measure(spec, materials, WEIGHTS)
    late = [{"late": tree["late"]} for tree in (WEIGHTS.batch_stats, moments)]
    scaled = rebase.away(spec, materials, WEIGHTS, moments)
    monkeypatch.setattr(rebase, "DISTANCE_SIZE", spec.image_size)
    assert rebase.away(spec, materials, WEIGHTS, moments) == pytest.approx(
        statistics.distance(*late)
    )
    assert rebase.away(spec, materials, WEIGHTS) == pytest.approx(statistics.distance(*late))
    assert scaled != pytest.approx(statistics.distance(*late))


@pytest.mark.parametrize(
    ("changes", "model", "optimizer", "rule", "expected"),
    [
        ({}, "efficientnet_lite0", "adamw", "auto", True),
        ({}, "resnet50", "adamw", "auto", False),  # whose borders have not been measured
        ({}, "efficientnet_lite0", "sgd", "auto", False),
        ({}, "efficientnet_lite0", "adamw", "rise", False),
        ({"lr": 1e-3}, "efficientnet_lite0", "adamw", "auto", False),
        ({"bn": "frozen"}, "efficientnet_lite0", "adamw", "auto", False),
    ],
)
def test_the_distance_decides_where_its_borders_are(changes, model, optimizer, rule, expected):
    settings = load.read(base.get_config())
    settings = dataclasses.replace(
        settings,
        model=dataclasses.replace(settings.model, name=model),
        optimizer=dataclasses.replace(settings.optimizer, name=optimizer),
        finder=dataclasses.replace(settings.finder, rule=rule),
    )
    phase = tiny.phase(**{"groups": tiny.ALL_GROUPS, "bn": "rebased", "lr": "find", **changes})
    settings = dataclasses.replace(settings, phases=(tiny.phase(), phase, phase))
    spec = dataclasses.replace(tiny.spec(NET, phase), phase_index=1)
    assert rebase.by_distance(spec, settings) is expected
    later = dataclasses.replace(spec, phase_index=2)
    assert not rebase.by_distance(later, settings), "the body knows the images by then"


@pytest.mark.slow
def test_the_first_step_costs_what_it_would_with_the_old_statistics():
    data = TrainBatch(*(leaf[:40] for leaf in tiny.canvases(53)))
    at_rest = {
        bn: tiny.train(spec_with(bn), start, data, lr=0.0)[1]
        for bn, start in (("frozen", WEIGHTS), ("rebased", after_measuring()), ("train", WEIGHTS))
    }
    np.testing.assert_allclose(at_rest["rebased"], at_rest["frozen"], rtol=1e-6)
    assert abs(at_rest["train"] / at_rest["frozen"] - 1) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "microbatches"), [(2, 1), (2, 2)])
def test_any_mesh_measures_the_same(devices, microbatches):
    found = after_measuring(devices, microbatches)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), found, after_measuring())


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "microbatches"), [(1, 1), (2, 1), (2, 2)])
def test_the_batchs_statistics_come_in_as_the_rate_warms_up(devices, microbatches):
    """The first step normalises by the running ones; from the warm-up's end on the batch's do."""
    data = TrainBatch(*(leaf[:40] for leaf in tiny.canvases(53)))
    start = after_measuring()

    def losses(bn, warmup_epochs):
        spec = spec_with(bn, warmup_epochs=warmup_epochs, microbatches=microbatches, epochs=5)
        return tiny.train(spec, start, data, lr=0.0, steps=4, devices=devices)[1]

    frozen, train, warming = losses("frozen", 0.0), losses("train", 0.0), losses("rebased", 2.0)
    # Of several microbatches, all but the first see running statistics that have moved.
    np.testing.assert_allclose(warming[0], frozen[0], rtol=1e-9 if microbatches == 1 else 1e-2)
    assert abs(warming[1] / train[1] - 1) > 1e-4 and abs(warming[1] / frozen[1] - 1) > 1e-4
    # The running statistics have moved another way by now, but nothing normalises by them.
    np.testing.assert_allclose(warming[2:], train[2:], rtol=1e-9)


def test_random_weights_are_not_rebased(tmp_path):
    materials = tiny.materials(tmp_path, phases=(spec_with("rebased").phase,))
    model = dataclasses.replace(materials.settings.model, weights="none")
    scratch = dataclasses.replace(materials.settings, model=model)
    rebased = [spec_of(s, NET, 0, 40).rebased for s in (materials.settings, scratch)]
    assert rebased == [{"early", "late"}, frozenset()]


def test_a_run_that_is_told_to_stop_measures_no_further(tmp_path):
    materials = tiny.materials(tmp_path)._replace(stop=Stop())
    materials.stop.set()
    with pytest.raises(Interrupted):
        rebase.measure(spec_with("rebased"), materials, WEIGHTS)


def test_a_distance_is_that_of_normal_distributions():
    had = {"early": {"bn1": {"mean": np.zeros(4), "var": np.ones(4)}}, "late": {}}
    assert statistics.distance(had, had) == 0
    moved = {"early": {"bn1": {"mean": np.ones(4), "var": np.ones(4)}}}
    assert statistics.distance(had, moved) == pytest.approx(0.5, rel=1e-2)
    wider = {"early": {"bn1": {"mean": np.zeros(4), "var": np.full(4, 4.0)}}}
    assert statistics.distance(had, wider) == pytest.approx((4 - 1 - np.log(4)) / 2, rel=1e-2)
    dead = {"early": {"bn1": {"mean": np.zeros(4), "var": np.array([0.0, 1, 1, 1])}}}
    assert 0 < statistics.distance(dead, dead | {}) + statistics.distance(had, dead) < 1
    both = {"early": had["early"], "late": {"bn2": had["early"]["bn1"]}}
    halfway = {"early": had["early"], "late": {"bn2": moved["early"]["bn1"]}}
    assert statistics.distance(both, halfway) == pytest.approx(0.25, rel=1e-2)
