"""Pooling, the head's layers, and dropout that belongs to the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxft.models.head import Head, dropout, keep_mask, product
from jaxft.models.pooling import pool

pytestmark = pytest.mark.one_device

KEYS = jax.random.split(jax.random.key(0), 64)


def test_max_avg_pooling_puts_the_maximum_first():
    features = jnp.arange(2 * 2 * 2 * 3, dtype=jnp.float32).reshape(2, 2, 2, 3)
    pooled = pool(features, "max_avg")
    np.testing.assert_array_equal(pooled[0], [9, 10, 11, 4.5, 5.5, 6.5])
    np.testing.assert_array_equal(pool(features, "avg"), pooled[:, 3:])


def _init(head: Head, features: int = 12):
    return head.init(jax.random.key(1), jnp.zeros((1, features)), train=False, keys=None)


@pytest.mark.slow
def test_the_head_is_batchnorm_linear_relu_batchnorm_linear():
    head = Head(3, hidden=(5,))
    variables = jax.tree.map(
        lambda a: a + 0.1 * jax.random.normal(jax.random.key(a.size), a.shape) ** 2, _init(head)
    )
    x = jax.random.normal(jax.random.key(2), (4, 12))
    p, s = variables["params"], variables["batch_stats"]

    def norm(x, name):
        y = (x - s[name]["mean"]) / np.sqrt(s[name]["var"] + 1e-5)
        return y * p[name]["scale"] + p[name]["bias"]

    def linear(x, name):
        return x @ p[name]["kernel"] + p[name]["bias"]

    expected = linear(norm(jnp.maximum(linear(norm(x, "bn0"), "linear0"), 0), "bn1"), "linear1")
    found = np.asarray(head.apply(variables, x, train=False))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_without_hidden_layers_the_head_is_one_linear_layer_without_dropout():
    variables = _init(Head(3, hidden=()))
    assert jax.tree.map(jnp.shape, dict(variables)) == {
        "params": {"linear0": {"kernel": (12, 3), "bias": (3,)}}
    }
    x = jnp.ones((4, 12))
    plain = Head(3, hidden=()).apply(variables, x, train=False)
    np.testing.assert_array_equal(
        Head(3, hidden=()).apply(variables, x, train=True, keys=KEYS[:4]), plain
    )


def test_the_product_and_its_gradients_are_those_of_plain_matrices():
    with jax.enable_x64(True):
        x, kernel = (jax.random.normal(jax.random.key(i), s) for i, s in ((1, (6, 5)), (2, (5, 3))))
        weights = jax.random.normal(jax.random.key(3), (6, 3))

        def gradients(function):
            return jax.value_and_grad(lambda *a: jnp.sum(weights * function(*a)), (0, 1))(x, kernel)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12),
            gradients(product),
            gradients(lambda x, kernel: x @ kernel),
        )


def test_kernels_are_kaiming_normal_and_biases_zero():
    linear = _init(Head(400), 1000)["params"]["linear0"]
    assert np.std(linear["kernel"]) == pytest.approx(np.sqrt(2 / 1000), rel=0.02)
    assert not linear["bias"].any()


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_the_rest(rate):
    y = np.asarray(dropout(jnp.full((64, 2560), 2.0), KEYS, 0, rate))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 2 / (1 - rate), rtol=1e-6)
    # Five standard errors, over all, for each example and for each feature.
    spread = np.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) <= 5 * spread / np.sqrt(kept.size)
    for axis in (0, 1):
        bound = 5 * spread / np.sqrt(kept.shape[axis])
        assert np.abs(kept.mean(axis) - (1 - rate)).max() <= bound


def test_dropout_is_independent_across_examples_layers_and_features():
    masks = [np.asarray(keep_mask(KEYS, layer, 2560, 0.5)) * 2.0 - 1 for layer in (0, 1)]
    rows = np.concatenate(masks)
    correlation = rows @ rows.T / 2560
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(2560)
    # Neighbouring features, and those that differ in one bit of their number.
    for distance in (1, 2, 64, 1024):
        shifted = (masks[0][:, distance:] * masks[0][:, :-distance]).mean()
        assert abs(shifted) < 5 / np.sqrt(64 * (2560 - distance))


def test_consecutive_keys_as_a_training_step_makes_them_give_uncorrelated_masks():
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(3), i))(jnp.arange(200))
    rows = np.asarray(keep_mask(keys, 0, 512, 0.25), np.float64)
    rows = (rows - 0.75) / np.sqrt(0.75 * 0.25)
    correlation = (rows @ rows.T / 512)[np.triu_indices(200, 1)]
    assert abs(correlation.mean()) < 5 / np.sqrt(512 * correlation.size)
    assert correlation.std() == pytest.approx(1 / np.sqrt(512), rel=0.05)


def test_an_examples_dropout_does_not_depend_on_the_batch_it_is_in():
    whole = keep_mask(KEYS, 0, 100, 0.5)
    parts = [keep_mask(KEYS[i : i + 16], 0, 100, 0.5) for i in range(0, 64, 16)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))
    np.testing.assert_array_equal(whole[::-1], keep_mask(KEYS[::-1], 0, 100, 0.5))


@pytest.mark.several_devices
@pytest.mark.slow
def test_the_training_head_gives_the_same_on_four_devices_as_on_one():
    head = Head(3, hidden=(8,))
    variables = _init(head)
    x = jax.random.normal(jax.random.key(5), (64, 12))

    def train(variables, x, keys, axis_name=None):
        return head.apply(variables, x, True, keys, axis_name, mutable=["batch_stats"])

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    data, whole = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        lambda variables, x, keys: train(variables, x, keys, "data"),
        mesh=mesh,
        in_specs=(whole, data, data),
        out_specs=(data, whole),
    )
    logits, stats = jax.jit(train)(variables, x, KEYS)
    logits4, stats4 = jax.jit(sharded)(variables, x, KEYS)
    np.testing.assert_allclose(logits4, logits, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), stats4, stats)
