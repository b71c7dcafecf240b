"""What XLA is asked for where a run should give the same bits on every start."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from jaxft import compiler, evaluate, fit, programs, recipe, sharding, step
from jaxft.configs import base
from jaxft.models import platform

pytestmark = pytest.mark.one_device

GPU = ("gpu", "NVIDIA H100 80GB HBM3")


def test_only_a_gpu_is_asked_for_anything_and_only_on_request():
    for name, asked in (("cpu", None), ("tpu", None), ("gpu", compiler.DETERMINISTIC)):
        with platform.targeting(name, name):
            assert compiler.options(True) == asked
            assert compiler.options(False) is None


def test_xla_knows_every_option():
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        jax.jit(jnp.sin, compiler_options={"xla_gpu_nonsense": True})(1.0)
    assert jax.jit(jnp.sin, compiler_options=dict(compiler.DETERMINISTIC))(0.0) == 0


def asked_by(monkeypatch, deterministic):
    """The options of every program of a run on a GPU that is large enough to be divided."""
    asked = []

    def jit(function, **how):
        if "compiler_options" in how:
            asked.append(how["compiler_options"])
        return function

    config = base.get_config()
    config.deterministic = deterministic
    settings = recipe.read(config)
    net, mesh = tiny.model(), sharding.data_mesh(1)
    with monkeypatch.context() as patch, platform.targeting(*GPU):
        patch.setattr(jax, "jit", jit)
        for index, phase in enumerate(settings.phases):
            spec = fit.spec_of(settings, net, index, examples=200)
            if phase.inputs == "cached":
                step.make_epoch(spec, mesh, 2)
            else:
                step.make_step(spec, mesh)
        patch.setattr(evaluate, "make_fold", lambda *_: lambda weights: weights)
        patch.setattr(programs, "Call", lambda function, _: function)
        programs.of_forward(settings, net, programs.weight_shapes(net), mesh, 64)
    assert len(asked) == len(settings.phases) + 3  # features, views, logits
    return asked


def test_one_key_reaches_every_program_that_decides_a_run(monkeypatch):
    assert all(options == compiler.DETERMINISTIC for options in asked_by(monkeypatch, True))
    assert all(options is None for options in asked_by(monkeypatch, False))
