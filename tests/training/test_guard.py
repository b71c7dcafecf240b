"""A step whose numbers are not finite, where such steps are skipped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax import lax

from jaxft.devices import sharding
from jaxft.devices.sharding import AXIS
from jaxft.errors import NonFiniteError
from jaxft.models.variables import Weights
from jaxft.recipe.optim import OptimizerSettings
from jaxft.training import guard, step

NET = tiny.model()
HEAD = tiny.spec(NET, tiny.phase(), settings=OptimizerSettings(momentum=0.9))
SKIPPING = dataclasses.replace(HEAD, ema_decay=0.9, skips_nonfinite=True)


def states(spec, rates, devices=1):
    """The state after each step at these rates, and the losses."""
    mesh = sharding.data_mesh(devices)
    state, frozen = sharding.replicate(step.start(spec, tiny.weights(NET)), mesh)
    one_step = step.make_step(spec, mesh)
    placed = sharding.replicate((np.asarray(rates, np.float32), np.int32(0)), mesh)
    found, losses = [], []
    for batch in tiny.shuffled(spec, tiny.canvases(), len(rates), mesh):
        state, loss = one_step(state, frozen, batch, *placed)
        found.append(sharding.fetch(state))
        losses.append(float(loss))
    return found, losses


def assert_skipped(states, losses):
    before, after = states
    assert (before.step, after.step) == (1, 2)
    assert np.isfinite(losses[0]) and np.isnan(losses[1])
    jax.tree.map(np.testing.assert_array_equal, after._replace(step=before.step), before)


@pytest.mark.slow
def test_an_update_that_would_not_be_finite_changes_nothing():
    found, losses = states(SKIPPING, [0.1, np.inf])
    assert_skipped(found, losses)
    momentum, average = found[0].opt_state, found[0].average
    assert any(np.any(leaf) for leaf in jax.tree.leaves(momentum)) and average is not None


@pytest.mark.slow
@pytest.mark.several_devices
@pytest.mark.parametrize("what", ["loss", "gradient", "statistics"])
def test_what_is_not_finite_on_one_device_skips_the_step_on_all(what, monkeypatch):
    plain = step.local_gradient

    def sick(spec, state, *rest):
        losses, grads, stats = plain(spec, state, *rest)
        here = (state.step == 1) & (lax.axis_index(AXIS) == 1)
        if what == "loss":
            return losses + jnp.where(here, jnp.inf, 0), grads, stats
        if what == "statistics":  # which all devices share: a variance that overflows
            return (
                losses,
                grads,
                jax.tree.map(lambda s: jnp.where(state.step == 1, jnp.inf, s), stats),
            )
        return losses, jax.tree.map(lambda g: g + jnp.where(here, jnp.nan, 0), grads), stats

    monkeypatch.setattr(step, "local_gradient", sick)
    assert_skipped(*states(SKIPPING, [0.1, 0.1], devices=2))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_every_leaf_is_looked_at(number):
    shapes: dict[str, tuple[int, ...]] = {
        "loss": (),
        "kernel": (2, 3),
        "none": (0, 4),
        "bias": (5,),
    }
    tree = {name: np.full(shape, -3e38, np.float32) for name, shape in shapes.items()}
    assert guard.all_finite(tree)
    for name in ("loss", "kernel", "bias"):
        sick = tree[name].copy()
        sick[(-1,) * sick.ndim] = number
        assert not guard.all_finite({**tree, name: sick})


@pytest.mark.slow
def test_healthy_steps_are_those_without_the_guard():
    guarded, losses = states(dataclasses.replace(SKIPPING, ema_decay=0.0), [0.1, 0.2])
    plain, wanted = states(HEAD, [0.1, 0.2])
    np.testing.assert_allclose(losses, wanted, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), guarded, plain)


def test_weights_that_are_not_finite_are_not_saved():
    weights = tiny.weights(NET)
    guard.demand_finite(weights, ("early", "late", "head"), 7)
    sick = jax.tree.map(np.copy, weights)
    jax.tree.leaves(sick.batch_stats["late"])[0][0] = np.inf
    guard.demand_finite(sick, ("head",), 7)  # a frozen group is no business of the step's
    with pytest.raises(NonFiniteError, match="the weights of late are not finite after step 6"):
        guard.demand_finite(Weights(*sick), ("late", "head"), 7)
