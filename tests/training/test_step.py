"""The train step: its cost, the groups it leaves alone, and the same results on any mesh."""

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxft.augment.augment import augment
from jaxft.augment.presets import PRESETS
from jaxft.augment.view import network_input
from jaxft.costs.call import Call
from jaxft.data.batches import eval_batches
from jaxft.data.order import epoch_key, position_keys
from jaxft.data.slots import Slots
from jaxft.devices import sharding
from jaxft.errors import NonFiniteError
from jaxft.evaluation.softmax import softmax
from jaxft.features import inference
from jaxft.features.inference import make_forward
from jaxft.models.variables import Weights
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.training import moving_average, step, step_losses, train_state
from jaxft.training.runners import run_steps
from jaxft.training.step import label_losses
from jaxft.training.train_state import TrainBatch, TrainState

pytestmark = pytest.mark.one_device

NET = tiny.model()
WEIGHTS = tiny.weights(NET)
DATA = tiny.canvases()
FULL = tiny.phase(groups=tiny.ALL_GROUPS)


def _same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def _differs(a, b):
    return [not np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)]


# Law 1: differentiate only what trains.


def _cost(lowered):
    compiled = lowered.compile()
    return compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes


def _step_cost(groups):
    net = tiny.model((32, 64), stride=1)
    spec = tiny.spec(net, tiny.phase(groups=groups), image_size=32, batch_size=32, examples=64)
    mesh = sharding.data_mesh(1)
    state, frozen = sharding.replicate(step.start(spec, tiny.weights(net)), mesh)
    batch = sharding.split_batch(tiny.canvases(32, 32), mesh)
    rates, seed = sharding.replicate((np.ones(2, np.float32), np.int32(0)), mesh)
    call = Call(step.make_step(spec, mesh), (state, frozen, batch, rates, seed))
    return _cost(call.lower())


@cache
def _forward_cost():
    """Augmentation, body and head in inference."""
    net = tiny.model((32, 64), stride=1)

    @jax.jit
    def forward(weights, canvas):
        keys = position_keys(epoch_key(0, 1, 0), jnp.arange(32))
        view = augment(canvas, keys, PRESETS["side_on"], 32)
        view = network_input(view, net.preprocessing, jnp.float32)
        params, stats = weights
        return net.classify(params, stats, net.features(params, stats, view)[0])[0]

    return _cost(forward.lower(tiny.weights(net), tiny.canvases(32, 32).inputs))


@pytest.mark.cpu_program
@pytest.mark.slow
def test_a_head_step_costs_little_more_than_inference():
    (flops, memory), (forward_flops, forward_memory) = _step_cost({"head": 1.0}), _forward_cost()
    assert flops <= 1.2 * forward_flops
    assert memory <= 1.2 * forward_memory


@pytest.mark.cpu_program
@pytest.mark.slow
def test_the_measure_sees_gradients_of_all_groups():
    (flops, memory), (forward_flops, forward_memory) = _step_cost(tiny.ALL_GROUPS), _forward_cost()
    assert flops > 2 * forward_flops
    assert memory > 1.2 * forward_memory


# Law 2: frozen means frozen.


@pytest.mark.slow
@pytest.mark.parametrize("groups", [{"head": 1.0}, {"late": 0.5, "head": 1.0}, {"early": 1.0}])
def test_what_does_not_train_stays_bit_identical(groups):
    after, _ = tiny.train(tiny.spec(NET, tiny.phase(groups=groups)), WEIGHTS, DATA, steps=3)
    for before, now in zip(WEIGHTS, after, strict=True):
        for group in before:
            if group in groups:
                assert all(_differs(before[group], now[group]))
            else:
                _same(before[group], now[group])


def test_the_train_state_holds_nothing_of_frozen_groups():
    state, frozen = step.start(tiny.spec(NET, tiny.phase()), WEIGHTS)
    assert set(state.params) == set(state.batch_stats) == {"head"}
    assert set(frozen.params) == set(frozen.batch_stats) == {"early", "late"}


@pytest.mark.slow
def test_frozen_batchnorm_of_a_training_body_keeps_its_statistics():
    phase = tiny.phase(groups=tiny.ALL_GROUPS, bn="frozen")
    after, _ = tiny.train(tiny.spec(NET, phase), WEIGHTS, DATA, steps=2)
    for group in ("early", "late"):
        _same(WEIGHTS.batch_stats[group], after.batch_stats[group])
        assert all(_differs(WEIGHTS.params[group], after.params[group]))
    assert all(_differs(WEIGHTS.batch_stats["head"], after.batch_stats["head"]))


# Laws 3 and 4: randomness belongs to the example; any mesh gives the same run.


FIRST_ONLY = np.array([1.0, 0, 0, 0])


@cache
def _first_gradient(devices, dtype, net=NET):
    """Return (the first step's gradient, parameters and statistics after four steps, losses).

    At rate 1 without momentum the first step moves by the gradient itself; the others, of an
    epoch more, move the statistics only. (Seed 2: a draw of dropout that leaves no hidden feature
    of the 8 examples almost constant, which BatchNorm would blow rounding up with.)
    """
    with jax.enable_x64(dtype == "float64"):
        start = tiny.weights(net, dtype)
        after, losses = tiny.train(
            tiny.spec(net, FULL), start, DATA, devices=devices, steps=4, lr=FIRST_ONLY, seed=2
        )
    return jax.tree.map(np.subtract, start.params, after.params), after.batch_stats, losses


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_in_64_bits_any_mesh_gives_the_same_gradients_losses_and_statistics(devices):
    gradients, stats, losses = _first_gradient(1, "float64")
    gradients_there, stats_there, losses_there = _first_gradient(devices, "float64")
    assert losses.dtype == np.float64 and len(set(losses)) == 4
    assert _norm(gradients) > 0.1
    np.testing.assert_allclose(losses_there, losses, rtol=1e-9)
    assert _close(gradients, gradients_there, 1e-9)
    assert _close(stats, stats_there, 1e-9)


MIXED = dataclasses.replace(
    PRESETS["side_on"], mixup_alpha=0.4, cutmix_alpha=1.0, label_smoothing=0.1
)


@cache
def _mixed(devices, microbatches=1):
    phase = tiny.phase(groups=tiny.ALL_GROUPS, microbatches=microbatches, bn="frozen")
    spec = dataclasses.replace(tiny.spec(NET, phase), augmentation=MIXED)
    with jax.enable_x64(True):
        start = tiny.weights(NET, np.float64)
        return tiny.train(spec, start, DATA, devices=devices, steps=4, lr=FIRST_ONLY)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "microbatches"), [(2, 1), (4, 1), (2, 2)])
def test_the_same_pairs_are_mixed_on_any_mesh(devices, microbatches):
    after, losses = _mixed(1, microbatches)
    after_there, losses_there = _mixed(devices, microbatches)
    np.testing.assert_allclose(losses_there, losses, rtol=1e-9)
    assert _close(after.params, after_there.params, 1e-9)


@pytest.mark.slow
def test_mixing_changes_the_loss():
    phase = tiny.phase(groups=tiny.ALL_GROUPS, bn="frozen")
    plain = dataclasses.replace(MIXED, mix_probability=0.0)
    spec = dataclasses.replace(tiny.spec(NET, phase), augmentation=plain)
    with jax.enable_x64(True):
        start = tiny.weights(NET, np.float64)
        _, losses = tiny.train(spec, start, DATA, steps=4, lr=FIRST_ONLY)
    assert (np.abs(losses - _mixed(1)[1]) > 1e-3).all()


def test_label_smoothing_spreads_a_share_over_all_classes():
    random = np.random.default_rng(0)
    raw, label = random.normal(size=(6, 5)), jnp.asarray(random.integers(5, size=6))
    target = 0.9 * np.eye(5)[label] + 0.1 / 5
    expected = -(target * np.log(softmax(raw))).sum(1)
    smooth = dataclasses.replace(PRESETS["none"], label_smoothing=0.1)
    spec = dataclasses.replace(tiny.spec(NET, FULL), augmentation=smooth)
    logits = jnp.asarray(raw)
    np.testing.assert_allclose(label_losses(spec, logits, label), expected, rtol=1e-5)
    plain = label_losses(tiny.spec(NET, FULL, preset="none"), logits, label)
    np.testing.assert_array_equal(plain, cross_entropy(logits, label))


@pytest.mark.slow
def test_label_smoothing_acts_on_cached_features_too():
    smooth = dataclasses.replace(PRESETS["none"], label_smoothing=0.5)
    spec = tiny.spec(NET, tiny.phase(inputs="cached"), preset="none")
    _, plain = _cached(spec, 1, 2)
    _, smoothed = _cached(dataclasses.replace(spec, augmentation=smooth), 1, 2)
    assert (np.abs(np.subtract(smoothed, plain)) > 1e-3).all()


def _norm(tree):
    return np.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(tree)))


def _close(a, b, share):
    """Trees agree to a share of their norm. (A bias before a BatchNorm has a gradient of 0.)"""
    return _norm(jax.tree.map(np.subtract, a, b)) <= share * _norm(a)


# Without the head's BatchNorm, which divides by the small spread of eight examples' features:
# rounding alone makes 2e-5 of its gradient on some processors.
PLAIN_HEAD = tiny.model(hidden=())


@pytest.mark.several_devices
@pytest.mark.slow
def test_in_32_bits_the_first_gradient_agrees_to_1e_5():
    one, many = (_first_gradient(devices, "float32", PLAIN_HEAD)[0] for devices in (1, 4))
    for group in one:
        assert _close(one[group], many[group], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "dropout"), [("side_on", (0.0, 0.0)), ("none", (0.25, 0.5))])
def test_seed_and_epoch_each_change_augmentation_and_dropout(preset, dropout):
    net = tiny.model(dropout=dropout)
    spec = tiny.spec(net, tiny.phase(), preset=preset, examples=8)
    same_order = TrainBatch(np.repeat(DATA.inputs[:1], 8, 0), np.repeat(DATA.label[:1], 8))
    # At rate 0 nothing but the keys tells the steps apart; each is an epoch of its own.
    losses, again, other_seed = (
        tiny.train(spec, WEIGHTS, same_order, steps=3, lr=0.0, seed=seed)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(losses, again)
    assert len({*losses, *other_seed}) == 6


# Law 6: cached equals uncached.


def _cached(spec, devices, steps):
    """Head training on features that the frozen body gives the evaluation view."""
    mesh = sharding.data_mesh(devices)
    forward = make_forward(NET, PRESETS["none"], 16, mesh)
    placed = sharding.replicate(WEIGHTS, mesh)
    split = tiny.split(DATA, "train")
    source = eval_batches(tiny.images(split), split.labels, slots=Slots(8), canvas=18)
    features = inference.extract(forward, placed, source, mesh)
    state, frozen = sharding.replicate(step.start(spec, WEIGHTS), mesh)
    rates, seed = sharding.replicate((np.full(steps, 0.3, np.float32), np.int32(0)), mesh)
    held, labels = sharding.replicate((features, DATA.label), mesh)
    losses: list[float] = []
    for _ in range(steps // spec.steps_per_epoch):
        epoch = step.make_epoch(spec, mesh, spec.steps_per_epoch)
        state, some = epoch(state, frozen, held, labels, rates, seed)
        losses.extend(np.asarray(some))
    return sharding.fetch(train_state.finish(state, frozen)), losses


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_head_training_on_cached_features_equals_training_through_the_body(devices):
    cached = tiny.spec(NET, tiny.phase(inputs="cached"), preset="none")
    through = tiny.spec(NET, tiny.phase(), preset="none")
    # Two epochs of two steps: the remainder of four examples is dropped, another one in each.
    after, losses = _cached(cached, devices, 4)
    expected, expected_losses = tiny.train(through, WEIGHTS, DATA, steps=4, lr=0.3)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    moved = jax.tree.map(np.subtract, expected.params["head"], WEIGHTS.params["head"])
    assert _norm(moved) > 0.1
    assert _close(expected.params["head"], after.params["head"], 1e-4)
    assert _close(expected.batch_stats["head"], after.batch_stats["head"], 1e-4)


def test_the_moving_average_of_the_weights_is_what_validates():
    plain = tiny.spec(NET, tiny.phase())
    once, twice = (tiny.train(plain, WEIGHTS, DATA, steps=n)[0] for n in (1, 2))
    found, _ = tiny.train(dataclasses.replace(plain, ema_decay=0.9), WEIGHTS, DATA, steps=2)

    def by_hand(start, after_one, after_two):
        mean = 0.1 * start + 0.9 * after_one  # the first decays are 1/10 and 2/11
        return 2 / 11 * mean + 9 / 11 * after_two

    wanted = jax.tree.map(by_hand, WEIGHTS, once, twice)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, wanted)
    assert any(_differs(found, twice))


def test_the_moving_averages_decay_is_at_most_what_is_asked_for():
    state = TrainState(jnp.asarray(1000), {}, {}, (), Weights({"a": jnp.zeros(2)}, {}))
    found = moving_average.moved(0.75, state, Weights({"a": jnp.ones(2)}, {}))
    assert found
    np.testing.assert_allclose(found.params["a"], 0.25)


def test_the_remainder_of_an_epoch_is_dropped():
    assert tiny.spec(NET, FULL, batch_size=8, examples=23).steps_per_epoch == 2
    assert tiny.spec(NET, FULL, batch_size=8, examples=24).steps_per_epoch == 3


# Law 8: the loop never waits.


def _run(sink, monkeypatch, steps=4):
    """run_steps with a step that notes when it is dispatched; -> (events, state, done)."""
    events = []
    numbers = [jax.device_put(np.float32(n)) for n in range(10)]
    compiled = jax.jit(jnp.negative)

    def fake_step(state, frozen, batch, rates, seed):
        with pytest.raises(Exception, match=r"[Dd]isallowed host-to-device"):
            compiled(np.ones(1, np.float32))
        events.append(f"dispatch {state.step}")
        return state._replace(step=state.step + 1), numbers[state.step]

    fetch = jax.device_get

    def recording_fetch(value):
        events.append(f"fetch {int(fetch(value))}")
        return fetch(value)

    def recording_sink(number, loss):
        assert number == loss
        return sink(number)

    monkeypatch.setattr(jax, "device_get", recording_fetch)
    first: Any = 0  # no array: counting one up would put the 1 on the device
    state, frozen = TrainState(first, {}, {}, None), Weights({}, {})
    rates, seed = jnp.zeros(steps), jnp.int32(0)
    batches = (TrainBatch(None, None) for _ in range(10))
    state, done = run_steps(fake_step, state, frozen, batches, rates, seed, steps, recording_sink)
    return events, state.step, done


def _keeping(seen, last):
    """A sink that appends the number of every step, and goes on until `last`."""

    def sink(number):
        seen.append(number)
        return number < last

    return sink


def test_the_next_step_is_dispatched_before_a_loss_is_fetched(monkeypatch):
    seen: list[int] = []
    events, state, done = _run(_keeping(seen, 4), monkeypatch)
    order = "d0 d1 f0 d2 f1 d3 f2 f3"
    words = {"d": "dispatch", "f": "fetch"}
    assert events == [f"{words[event[0]]} {event[1]}" for event in order.split()]
    assert seen == [0, 1, 2, 3]
    assert state == done == 4


def test_a_sink_stops_the_loop_and_the_step_under_way_is_kept(monkeypatch):
    seen: list[int] = []
    events, state, done = _run(_keeping(seen, 1), monkeypatch)
    assert seen == [0, 1, 2]
    assert state == done == 3
    assert events[-1] == "fetch 2"


def test_a_loss_that_is_no_number_raises():
    step_losses.demand_finite(3, 1e30)
    for loss in (np.nan, np.inf, -np.inf):
        with pytest.raises(NonFiniteError, match=r"(nan|inf) at step 3"):
            step_losses.demand_finite(3, loss)


@pytest.mark.slow
def test_an_overflowing_run_gives_a_loss_that_is_not_finite():
    _, losses = tiny.train(tiny.spec(NET, FULL), WEIGHTS, DATA, steps=3, lr=1e38)
    assert np.isfinite(losses[0]) and not np.isfinite(losses[-1])


# Microbatches, and BatchNorm by device.


def _moved(phase, devices=1, steps=2, net=NET):
    """Return (gradient of the first step, statistics after the last, losses), in 64 bits."""
    with jax.enable_x64(True):
        start = tiny.weights(net, np.float64)
        after, losses = tiny.train(
            tiny.spec(net, phase), start, DATA, devices=devices, steps=steps, lr=FIRST_ONLY[:steps]
        )
    return jax.tree.map(np.subtract, start.params, after.params), after.batch_stats, losses


@pytest.mark.slow
@pytest.mark.parametrize("microbatches, devices", [(2, 1), (4, 2), (8, 1)])
def test_microbatches_equal_the_whole_batch_where_batchnorm_is_frozen(microbatches, devices):
    phase = tiny.phase(groups=tiny.ALL_GROUPS, bn="frozen")
    parts = tiny.phase(groups=tiny.ALL_GROUPS, bn="frozen", microbatches=microbatches)
    gradients, _, losses = _moved(phase, net=PLAIN_HEAD)
    gradients_there, _, losses_there = _moved(parts, devices, net=PLAIN_HEAD)
    assert _norm(gradients) > 0.1
    np.testing.assert_allclose(losses_there, losses, rtol=1e-9)
    assert _close(gradients, gradients_there, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_microbatches_with_batchnorm_are_the_same_on_any_mesh(devices):
    phase = tiny.phase(groups=tiny.ALL_GROUPS, microbatches=2)
    (gradients, stats, losses), there = _moved(phase), _moved(phase, devices)
    np.testing.assert_allclose(there[2], losses, rtol=1e-9)
    assert _close(gradients, there[0], 1e-9) and _close(stats, there[1], 1e-9)
    assert not _close(_moved(FULL)[0], gradients, 1e-3)  # BatchNorm sees one part at a time


@pytest.mark.several_devices
@pytest.mark.slow
def test_per_device_batchnorm_sees_what_microbatches_see():
    """Two devices with statistics of their own, and one with as many parts, give one gradient."""
    phase = tiny.phase(groups=tiny.ALL_GROUPS, bn="per_device")
    parts = tiny.phase(groups=tiny.ALL_GROUPS, microbatches=2)
    gradients, stats, losses = _moved(phase, 2, steps=1)
    there, global_stats = _moved(parts, steps=1), _moved(FULL, steps=1)[1]
    np.testing.assert_allclose(losses, there[2], rtol=1e-9)
    assert _close(gradients, there[0], 1e-9)
    first, global_first = (tree["early"]["bn1"] for tree in (stats, global_stats))
    np.testing.assert_allclose(first["mean"], global_first["mean"], rtol=1e-9)
    assert not _close(first["var"], global_first["var"], 1e-3)


# The range test's baseline: what a step at rate 0 would lose, without its gradient.


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"bn": "per_device"}, {"microbatches": 2}])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_that_stands_still_has_the_losses_of_steps_at_rate_0(settings, devices, monkeypatch):
    phase = tiny.phase(groups=tiny.ALL_GROUPS, **settings)
    rates = np.zeros(2)
    with jax.enable_x64(True):
        start = tiny.weights(NET, np.float64)
        told = {"devices": devices, "steps": 2, "lr": rates}
        moving, losses = tiny.train(tiny.spec(NET, phase), start, DATA, **told)
        monkeypatch.setattr(step, "make_step", step.make_still)
        still, at_rest = tiny.train(tiny.spec(NET, phase), start, DATA, **told)
    np.testing.assert_allclose(at_rest, losses, rtol=1e-9)
    assert losses[0] != losses[1]  # it goes through the epoch's examples and their views
    _same(start, still)
    assert any(_differs(start.batch_stats, moving.batch_stats))
