"""Max pooling with a gradient of its own, beside XLA's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxft.devices import platform
from jaxft.models.max_pool import max_pool


def by_xla(x):
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 6), (1, 5)])
def test_values_and_gradients_are_those_of_xla_to_the_bit(height, width, dtype):
    few = jax.random.randint(jax.random.key(0), (3, height, width, 4), 0, 4)  # many are equal
    x = few.astype(dtype)
    plain, plain_gradient = jax.vjp(by_xla, x)
    pooled, gradient = jax.vjp(max_pool, x)
    np.testing.assert_array_equal(pooled, plain)
    np.testing.assert_array_equal(max_pool(x), plain)
    dy = jax.random.normal(jax.random.key(1), plain.shape, dtype)
    np.testing.assert_array_equal(gradient(dy)[0], plain_gradient(dy)[0])


def test_the_gradient_scatters_nothing():
    x = jnp.zeros((2, 8, 8, 4))
    text = jax.jit(jax.grad(lambda x: max_pool(x).sum())).lower(x).as_text()
    assert "scatter" not in text
    assert "scatter" in jax.jit(jax.grad(lambda x: by_xla(x).sum())).lower(x).as_text()


def test_on_a_tpu_both_are_xlas_own_operations():
    x = jnp.zeros((2, 8, 8, 4))
    with platform.targeting("tpu", "TPU v5 lite"):
        ours = jax.jit(jax.grad(lambda x: max_pool(x).sum())).lower(x).as_text()
    assert ours == jax.jit(jax.grad(lambda x: by_xla(x).sum())).lower(x).as_text()
