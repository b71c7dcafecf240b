"""Statistics at an epoch's end are those of the weights that validate."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose

from jaxft.devices import sharding
from jaxft.devices.sharding import AXIS
from jaxft.models.variables import Weights
from jaxft.training import rebase, statistics, step
from jaxft.training.runners import train_feed

NET, BODY = tiny.model(), frozenset({"early", "late"})

OLD = {
    "late": {"norm": {"mean": np.array([0, 2], np.float32), "var": np.array([1, 1], np.float32)}},
    "head": {"norm": {"mean": np.array([4, 4], np.float32), "var": np.array([3, 3], np.float32)}},
}
NEW = {
    "early": {"norm": {"mean": np.array([9, 9], np.float64), "var": np.array([9, 9], np.float64)}},
    "late": {"norm": {"mean": np.array([1, 1], np.float64), "var": np.array([3, 5], np.float64)}},
    "head": {"norm": {"mean": np.array([8, 6], np.float64), "var": np.array([1, 2], np.float64)}},
}


def test_all_of_the_head_s_and_a_share_of_the_body_s_are_taken():
    found = statistics.settled(OLD, NEW, 0.25)
    assert found.keys() == OLD.keys(), "a frozen group keeps its own"
    assert_allclose(found["late"]["norm"]["mean"], [0.25, 1.75])
    assert_allclose(found["late"]["norm"]["var"], [1.5, 2])
    assert_allclose(found["head"]["norm"]["mean"], [8, 6])
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_all_are_taken_after_the_warm_up():
    found = statistics.settled(OLD, NEW, 1.0)
    assert_allclose(found["late"]["norm"]["var"], [3, 5])


@pytest.mark.parametrize(
    ("batch_size", "examples", "counts"),
    [
        (32, 2000, [10, 32, 10, 32]),  # a thousand images at the ends of cycles of two epochs
        (32, 640, [10, 20, 10, 20]),  # an epoch at most
        (32, 200, [6, 6, 6, 6]),
        (256, 20_000, [10, 10, 10, 10]),
    ],
)
def test_more_images_are_measured_at_the_end_of_a_cycle(batch_size, examples, counts):
    phase = dataclasses.replace(
        tiny.phase(groups=tiny.ALL_GROUPS), schedule="sgdr", cycles=2, cycle_epochs=2
    )
    spec = tiny.spec(NET, phase, batch_size=batch_size, examples=examples)
    assert [rebase.settling_batches(spec, epochs) for epochs in (1, 2, 3, 4)] == counts


def features(spec, materials, weights, batch, how: Any) -> Any:
    """Features of a batch's views, as the phase's first step draws them."""

    def local(weights, batch, seed):
        keys = step.example_keys(spec, seed, jnp.int32(0), 40)
        images, _ = step.training_images(spec, batch, keys, np.float64)
        return NET.features(weights.params, weights.batch_stats, images, **how)[0]

    specs = (P(), P(AXIS), P())
    mapped = sharding.shard_map(local, materials.mesh, specs, P(AXIS))
    return jax.jit(mapped)(weights, batch, materials.seed())


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 4])
def test_the_settled_network_computes_what_a_step_does(done):
    """With the statistics of one batch, in the middle of the warm-up and after it."""
    spec = tiny.spec(NET, tiny.phase(groups=tiny.ALL_GROUPS), batch_size=40, examples=40)
    phase = dataclasses.replace(spec.phase, bn="rebased", epochs=9, warmup_epochs=2)
    spec = dataclasses.replace(spec, phase=phase)
    with jax.enable_x64(True):
        materials = tiny.materials(None, batch_size=40)
        state, frozen = step.start(spec, tiny.weights(NET, np.float64))
        after = rebase.make_settle(spec, materials, frozen)(state, done)
        share = step.batch_share(spec, jnp.int32(done))
        assert share == pytest.approx(min(done / phase.warm_steps(1), 1))
        with train_feed(spec, materials, 0, 1) as feed:
            batch = next(iter(feed))
        found, wanted = (
            features(spec, materials, Weights(state.params, one.batch_stats), batch, how)
            for one, how in ((after, {}), (state, {"training": BODY, "share": share}))
        )
    assert_allclose(found, wanted, rtol=1e-9)
    assert after.step == state.step and after.params is state.params


def test_a_frozen_body_is_left_as_it_is():
    spec = tiny.spec(NET, tiny.phase(groups={"head": 1.0}), batch_size=40, examples=40)
    state, frozen = step.start(spec, tiny.weights(NET))
    assert rebase.make_settle(spec, tiny.materials(None), frozen)(state, 3) is state
    assert rebase.settling_batches(spec, 1) == 0
