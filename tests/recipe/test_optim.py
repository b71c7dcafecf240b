"""Optimizers against hand-computed updates; frozen groups hold no state."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxft.recipe import optim, schedules
from jaxft.recipe.optim import OptimizerSettings
from jaxft.training import step

GROUPS = {"late": 0.1, "head": 1.0}
RANDOM = np.random.default_rng(0)
PARAMS = {
    group: {
        "linear": {"kernel": RANDOM.normal(size=(3, 2)), "bias": RANDOM.normal(size=2)},
        "bn": {"scale": RANDOM.normal(size=2), "bias": RANDOM.normal(size=2)},
    }
    for group in GROUPS
}
GRADIENTS = [jax.tree.map(lambda a: RANDOM.normal(size=a.shape), PARAMS) for _ in range(4)]


def _after(settings, momentum=None, groups=GROUPS, lr=0.2):
    """Parameters after a step for each of GRADIENTS, in float64."""
    with jax.enable_x64(True):
        chain = optim.transformation(groups, settings, momentum)
        params = jax.tree.map(jnp.asarray, PARAMS)
        state = chain.init(params)
        for gradients in GRADIENTS:
            directions, state = chain.update(gradients, state, params)
            params = optim.apply(params, directions, jnp.asarray(lr))
        return jax.device_get(params)


def _by_hand(rule, lr=0.2, groups=GROUPS):
    """`rule(parameter, gradients, rate, is_kernel)` for every leaf."""

    def leaf(path, parameter, *gradients):
        return rule(parameter, gradients, lr * groups[path[0].key], path[-1].key == "kernel")

    return jax.tree_util.tree_map_with_path(leaf, PARAMS, *GRADIENTS)


def _assert_equal(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found, expected)


def _sgd(momenta, decay, decay_all=False, nesterov=False, towards_start=False):
    def rule(parameter, gradients, rate, is_kernel):
        trace, target = np.zeros_like(parameter), towards_start * parameter
        for gradient, momentum in zip(gradients, momenta, strict=True):
            gradient = gradient + decay * (is_kernel or decay_all) * (parameter - target)
            trace = momentum * trace + gradient
            parameter = parameter - rate * (gradient + momentum * trace if nesterov else trace)
        return parameter

    return rule


def _adamw(beta1s, beta2, eps, decay, towards_start=False):
    def rule(parameter, gradients, rate, is_kernel):
        target = towards_start * parameter
        mean, square = np.zeros_like(parameter), np.zeros_like(parameter)
        for n, (gradient, beta1) in enumerate(zip(gradients, beta1s, strict=True), 1):
            mean = beta1 * mean + (1 - beta1) * gradient
            square = beta2 * square + (1 - beta2) * gradient**2
            direction = mean / (1 - beta1**n) / (np.sqrt(square / (1 - beta2**n)) + eps)
            parameter = parameter - rate * (direction + decay * is_kernel * (parameter - target))
        return parameter

    return rule


def test_sgd_with_momentum_adds_weight_decay_to_the_gradient_of_kernels():
    settings = OptimizerSettings(momentum=0.9, weight_decay=0.3)
    _assert_equal(_after(settings), _by_hand(_sgd([0.9] * 4, 0.3)))


def test_biases_and_batchnorm_decay_only_if_told_to():
    settings = OptimizerSettings(weight_decay=0.3, decay_norm_and_bias=True)
    _assert_equal(_after(settings), _by_hand(_sgd([0.9] * 4, 0.3, decay_all=True)))


def test_nesterov():
    settings = OptimizerSettings(nesterov=True)
    _assert_equal(_after(settings), _by_hand(_sgd([0.9] * 4, 0, nesterov=True)))


def test_adamw_decouples_weight_decay():
    settings = OptimizerSettings("adamw", 0.8, beta2=0.99, eps=1e-6, weight_decay=0.3)
    _assert_equal(_after(settings), _by_hand(_adamw([0.8] * 4, 0.99, 1e-6, 0.3)))


def test_adamw_decays_towards_what_a_phase_begins_with():
    settings = OptimizerSettings("adamw", 0.8, weight_decay=0.3, decay_towards="start")
    _assert_equal(_after(settings), _by_hand(_adamw([0.8] * 4, 0.99, 1e-8, 0.3, True)))


def test_sgd_decays_towards_what_a_phase_begins_with():
    settings = OptimizerSettings(weight_decay=0.3, decay_towards="start")
    _assert_equal(_after(settings), _by_hand(_sgd([0.9] * 4, 0.3, towards_start=True)))


def test_each_groups_gradient_is_clipped_by_its_own_norm():
    gradients, params = jax.tree.map(np.float32, (GRADIENTS[0], PARAMS))
    gradients["late"] = jax.tree.map(lambda a: a / 100, gradients["late"])
    chain = optim.transformation(GROUPS, OptimizerSettings(momentum=0.0, clip_norm=0.5))
    found, _ = chain.update(gradients, chain.init(params), params)
    squares = jax.tree.map(lambda a: np.square(a).sum(), gradients)
    norms = {group: np.sqrt(sum(jax.tree.leaves(squares[group]))) for group in GROUPS}
    assert norms["late"] < 0.5 < norms["head"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        found,
        {
            "late": jax.tree.map(lambda g: -0.1 * g, gradients["late"]),
            "head": jax.tree.map(lambda g: -0.5 / norms["head"] * g, gradients["head"]),
        },
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_cycle_momentum_varies_by_step(name):
    momentum = schedules.one_cycle_momentum(4)
    momenta = momentum(np.arange(4)).tolist()
    assert len(set(momenta)) == 4
    rule = _sgd(momenta, 0) if name == "sgd" else _adamw(momenta, 0.99, 1e-8, 0)
    found = _after(OptimizerSettings(name), momentum)
    # optax keeps scheduled hyperparameters in float32.
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, found, _by_hand(rule))
    fixed = _by_hand(_sgd([0.95] * 4, 0) if name == "sgd" else _adamw([0.95] * 4, 0.99, 1e-8, 0))
    difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), found, fixed)
    assert max(jax.tree.leaves(difference)) > 1e-3


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_multipliers_scale_the_update(name):
    settings = OptimizerSettings(name, weight_decay=0.0)
    twice = {"late": 0.2, "head": 1.0}
    once, double = _after(settings), _after(settings, groups=twice)
    _assert_equal(double["head"], once["head"])
    moved = [jax.tree.map(np.subtract, a["late"], PARAMS["late"]) for a in (once, double)]
    _assert_equal(moved[1], jax.tree.map(lambda a: 2 * a, moved[0]))


def _state_shapes(groups, settings, momentum=None):
    net = tiny.model()
    spec = tiny.spec(net, tiny.phase(groups=groups), settings=settings, momentum=momentum)
    weights = tiny.weights(net)
    state, _ = step.start(spec, weights)
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim)
    wanted = {group: weights.params[group] for group in groups}
    return shapes, sorted(leaf.shape for leaf in jax.tree.leaves(wanted))


@pytest.mark.parametrize("groups", [{"head": 1.0}, {"late": 0.1, "head": 1.0}])
def test_the_state_holds_nothing_for_frozen_groups(groups):
    shapes, trained = _state_shapes(groups, OptimizerSettings(weight_decay=0.1))
    assert shapes == trained
    shapes, trained = _state_shapes(groups, OptimizerSettings("adamw", weight_decay=0.1))
    assert shapes == sorted(2 * trained)
    shapes, trained = _state_shapes(groups, OptimizerSettings(), schedules.one_cycle_momentum(10))
    assert shapes == trained


def test_parameters_keep_their_dtype():
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, jnp.bfloat16)}
    after = optim.apply(params, params, jnp.float32(0.5))
    assert jax.tree.map(lambda a: a.dtype, after) == {"a": jnp.float32, "b": jnp.bfloat16}
