"""BatchNorm is PyTorch's, its hand-written gradient is right, and meshes do not change it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxft.devices import platform
from jaxft.models.max_pool import max_pool
from jaxft.models.norm.activation import activate
from jaxft.models.norm.layer import BatchNorm

pytestmark = pytest.mark.one_device

EPS, MOMENTUM = 1e-3, 0.9
ACTIVATIONS = ["none", "relu", "relu6"]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def inputs(seed=0, batch=8):
    """Images far from zero mean, parameters and statistics, in float64."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(2.0, 3.0, size=(batch, 3, 5, 4)))
    params = {"scale": jnp.asarray(rng.normal(size=4)), "bias": jnp.asarray(rng.normal(size=4))}
    stats = {"mean": jnp.asarray(rng.normal(size=4)), "var": jnp.asarray(rng.uniform(1, 2, 4))}
    return x, params, stats


def loss_of(y):
    """A scalar that weighs every output differently."""
    return jnp.sum(jnp.sin(y) * (1 + jnp.cos(jnp.arange(y[0].size).reshape(y.shape[1:]))))


def run(x, params, stats, activation, train=True, axis_name=None, pool=None, share=None):
    """Output and updated statistics."""
    layer = BatchNorm(EPS, MOMENTUM, activation, pool=pool)
    variables = {"params": params, "batch_stats": stats}
    share = None if share is None else jnp.asarray(share)
    y, new = layer.apply(variables, x, train, axis_name, share, mutable=["batch_stats"])
    return y, new["batch_stats"]


def plain(x, params, activation, stats=None, share=1.0):
    """The definition, left to automatic differentiation."""
    mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    if stats is not None:
        mean = share * mean + (1 - share) * stats["mean"]
        var = share * var + (1 - share) * stats["var"]
    z = (x - mean) / jnp.sqrt(var + EPS) * params["scale"] + params["bias"]
    return activate(z, activation)


@pytest.mark.slow
@pytest.mark.parametrize("lowered_for", ["cpu", "tpu"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_output_and_gradient_are_the_definitions(activation, lowered_for):
    x, params, stats = inputs()
    ours = lambda x, p: loss_of(run(x, p, stats, activation)[0])  # noqa: E731
    definition = lambda x, p: loss_of(plain(x, p, activation))  # noqa: E731
    with platform.targeting(lowered_for, lowered_for):
        got = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, params)
    want = jax.jit(jax.value_and_grad(definition, (0, 1)))(x, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_batchs_statistics_and_running_ones_for_the_rest(share):
    x, params, stats = inputs()
    ours = lambda x, p: loss_of(run(x, p, stats, "relu", share=share)[0])  # noqa: E731
    definition = lambda x, p: loss_of(plain(x, p, "relu", stats, share))  # noqa: E731
    got, want = (jax.jit(jax.value_and_grad(f, (0, 1)))(x, params) for f in (ours, definition))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), got, want)
    if share == 0:
        np.testing.assert_allclose(got[0], loss_of(run(x, params, stats, "relu", train=False)[0]))


@pytest.mark.parametrize("share", [None, 0.3])
def test_running_statistics_are_pytorchs(share):
    x, params, stats = inputs()
    _, new = run(x, params, stats, "none", share=share)
    rows = np.asarray(x).reshape(-1, 4)
    mean = MOMENTUM * stats["mean"] + (1 - MOMENTUM) * rows.mean(0)
    var = MOMENTUM * stats["var"] + (1 - MOMENTUM) * rows.var(0, ddof=1)
    np.testing.assert_allclose(new["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(new["var"], var, rtol=1e-12)


def test_inference_uses_the_running_statistics_and_keeps_them():
    x, params, stats = inputs()
    y, new = run(x, params, stats, "relu6", train=False)
    z = (x - stats["mean"]) / jnp.sqrt(stats["var"] + EPS) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, jnp.clip(z, 0, 6), rtol=1e-12)
    assert all(np.array_equal(new[k], stats[k]) for k in stats)


def test_a_far_mean_costs_no_digits_in_float32():
    rng = np.random.default_rng(0)
    x = jnp.asarray(1000 + rng.normal(size=(64, 8, 8, 4)), jnp.float32)
    ones = jnp.ones(4, jnp.float32)
    stats = {"mean": 1000 * ones, "var": ones}
    _, new = run(x, {"scale": ones, "bias": 0 * ones}, stats, "none")
    want = 0.9 + 0.1 * np.asarray(x, np.float64).reshape(-1, 4).var(0, ddof=1)
    np.testing.assert_allclose(new["var"], want, rtol=1e-5)


@pytest.mark.several_devices
@pytest.mark.parametrize("pool", [None, max_pool], ids=["all pixels", "pooled"])
@pytest.mark.parametrize("mark", [True, False], ids=["varying params", "unvarying params"])
@pytest.mark.parametrize("share", [None, 0.3])
def test_one_and_four_devices_agree(mark, pool, share):
    x, params, stats = inputs()

    def step(devices):
        mesh = jax.make_mesh(
            (devices,), ("data",), devices=jax.devices()[:devices], axis_types=(AxisType.Auto,)
        )

        def local(params, stats, x):
            def loss(params, x):
                y, new = run(x, params, stats, "relu6", True, "data", pool, share)
                return loss_of(y), new

            marked = lax.pcast(params, "data", to="varying") if mark else params
            (grads, dx), new = jax.grad(loss, (0, 1), has_aux=True)(marked, x)
            return lax.psum(grads, "data") if mark else grads, dx, new

        everywhere, split = PartitionSpec(), PartitionSpec("data")
        # Unvarying out_specs under check_vma: the running statistics must come out replicated.
        sharded = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(everywhere, everywhere, split),
            out_specs=(everywhere, split, everywhere),
            check_vma=True,
        )
        return jax.jit(sharded)(params, stats, x)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), step(4), step(1)
    )


@pytest.mark.parametrize("share", [None, 0.3])
def test_channels_in_parts_change_no_number(share):
    x, params, stats = inputs()
    variables = {"params": params, "batch_stats": stats}
    share = None if share is None else jnp.asarray(share)

    def in_parts(parts):
        def loss(x, params):
            layer = BatchNorm(EPS, MOMENTUM, "relu", parts=parts)
            given = {**variables, "params": params}
            y, new = layer.apply(given, x, True, None, share, mutable=["batch_stats"])
            return loss_of(y), new

        return jax.value_and_grad(loss, (0, 1), has_aux=True)

    with platform.targeting("tpu", "v5e"):
        assert "[8,3,5,2,2]" in str(jax.make_jaxpr(in_parts(2))(x, params))
        whole, parted = (in_parts(parts)(x, params) for parts in (1, 2))
    same = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
    jax.tree.map(same, parted, whole)


@pytest.mark.parametrize("share", [None, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooling_before_normalising_changes_no_number(activation, share):
    x, params, stats = inputs()
    assert (params["scale"] < 0).any() and (params["scale"] > 0).any()

    def step(pooled_first):
        def loss(x, params):
            pool = max_pool if pooled_first else None
            y, new = run(x, params, stats, activation, pool=pool, share=share)
            y = y if pooled_first else max_pool(y)
            return loss_of(y), (y, new)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, params)

    same = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    jax.tree.map(same, step(True), step(False))


def test_pooling_before_normalising_changes_no_bit_in_bfloat16():
    x, params, stats = inputs()
    params, stats = jax.tree.map(lambda a: a.astype("float32"), (params, stats))
    x = x.astype("bfloat16")
    pooled, _ = run(x, params, stats, "relu", pool=max_pool)
    np.testing.assert_array_equal(pooled, max_pool(run(x, params, stats, "relu")[0]))


def test_a_pool_comes_after_the_norm_in_inference_too():
    x, params, stats = inputs()
    pooled, _ = run(x, params, stats, "relu", train=False, pool=max_pool)
    np.testing.assert_array_equal(pooled, max_pool(run(x, params, stats, "relu", train=False)[0]))
