"""EfficientNet-Lite0 has the original's shape; its parity with PyTorch is in test_parity.py."""

import jax
import jax.numpy as jnp
import pytest

from jaxft.models.bodies.efficientnet_lite import body

pytestmark = pytest.mark.one_device


@pytest.fixture(scope="module")
def shapes():
    """Shapes of both groups' variables and outputs for 64 px images; computes nothing."""
    network = body("efficientnet_lite0")

    def init(key, images):
        x, early = network.early.init_with_output(key, images, train=False)
        y, late = network.late.init_with_output(key, x, train=False)
        return x, y, early, late

    return jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 64, 64, 3)))


def test_has_the_originals_number_of_parameters(shapes):
    _, _, early, late = shapes
    params = jax.tree.leaves([early["params"], late["params"]])
    # 4,652,008 in the original, less its classifier of 1280 x 1000 + 1000.
    assert sum(p.size for p in params) == 4_652_008 - 1_281_000


def test_is_cut_after_stage_four(shapes):
    x, y, early, late = shapes
    assert x.shape == (2, 4, 4, 80)
    assert y.shape == (2, 2, 2, body("efficientnet_lite0").channels)
    early_blocks = [f"block{n:02d}" for n in range(8)]
    late_blocks = [f"block{n:02d}" for n in range(8, 16)]
    assert sorted(early["params"]) == [*early_blocks, "stem_bn", "stem_conv"]
    assert sorted(late["params"]) == [*late_blocks, "head_bn", "head_conv"]


@pytest.mark.slow
def test_running_statistics_learn_at_the_rate_of_fine_tuning():
    network = body("efficientnet_lite0")
    images = jnp.ones((2, 32, 32, 3))
    variables = network.early.init(jax.random.key(0), images, train=False)
    _, new = network.early.apply(variables, images, train=True, mutable=["batch_stats"])
    var = new["batch_stats"]["block07"]["project_bn"]["var"]
    assert jnp.all(var >= 0.9)  # started at 1; EfficientNet's own momentum would leave 0.99
    assert jnp.any(var < 0.98) or jnp.any(var > 1.0)
