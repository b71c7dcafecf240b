"""Gradients averaged during the backward pass on TPU, and the options that request it."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
import tiny
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxft.config import load
from jaxft.configs import base
from jaxft.costs import costs
from jaxft.devices import compiler, platform, sharding, topology
from jaxft.training import step
from jaxft.training.spec import spec_of

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")


def test_a_compiler_that_knows_no_option_is_given_none():
    mesh = sharding.data_mesh()
    assert compiler.options(False, mesh) is None
    with platform.targeting("tpu", "v5e"):
        assert compiler.options(False, mesh) == {}


@pytest.mark.parametrize("wanted", [True, False])
def test_a_step_asks_for_it_where_the_config_does(wanted, monkeypatch):
    config = base.get_config()
    config.overlap_gradients = wanted
    spec = spec_of(load.read(config), tiny.model(), 2, examples=200)
    asked, mesh = [], sharding.data_mesh()
    monkeypatch.setattr(compiler, "options", lambda _, exchanging: asked.append(exchanging))
    step.make_step(spec, mesh)
    assert asked == [mesh if wanted else None]


@needs_libtpu
def test_an_unknown_option_fails_no_run(monkeypatch):
    target = topology.slice_of("v5e:2x2")
    monkeypatch.setitem(compiler.ASYNCHRONOUS, "xla_tpu_no_such_option", "true")
    with platform.targeting(*target.platform):
        found = compiler.options(False, target.mesh)
    assert found and "xla_tpu_no_such_option" not in found
    assert len(found) == len(compiler.ASYNCHRONOUS) - 1


@needs_libtpu
@pytest.mark.slow
def test_gradients_are_averaged_beside_the_backward_pass():
    """Three layers of a perceptron: of their three all-reduces only the last need be waited for."""
    target, width = topology.slice_of("v5e:2x4"), 1024
    whole, divided = (
        NamedSharding(target.mesh, PartitionSpec(*axes)) for axes in ((), (sharding.AXIS,))
    )

    def gradients(layers, x):
        def loss(layers):
            y = x
            for layer in layers:
                y = jax.nn.relu(y @ layer.astype(x.dtype))
            return jnp.square(y).astype(jnp.float32).mean()

        return sharding.mean(jax.grad(loss)(lax.pcast(layers, sharding.AXIS, to="varying")))

    specs = PartitionSpec(), PartitionSpec(sharding.AXIS)
    mapped = sharding.shard_map(gradients, target.mesh, specs, PartitionSpec())
    layers = [jax.ShapeDtypeStruct((width, width), jnp.float32, sharding=whole)] * 3
    x = jax.ShapeDtypeStruct((8 * width, width), jnp.bfloat16, sharding=divided)
    with platform.targeting(*target.platform):
        averaged = jax.jit(mapped, compiler_options=compiler.options(False, target.mesh))
        compiled = averaged.lower(layers, x).compile()
    found = costs.of_compiled(compiled, target.device).collectives["all-reduce"]
    assert (found.number, found.bytes) == (3, 3 * 4 * width**2)
    assert found.asynchronous >= 2
