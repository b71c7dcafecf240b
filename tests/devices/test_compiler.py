"""Compiler options of runs that should give the same bits on every start."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from jaxft.config import load
from jaxft.configs import base
from jaxft.costs import programs
from jaxft.devices import compiler, platform, sharding, topology
from jaxft.features import inference
from jaxft.training import step
from jaxft.training.spec import spec_of

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
    settings = load.read(config)
    net, mesh = tiny.model(), sharding.data_mesh(1)
    with monkeypatch.context() as patch, platform.targeting(*GPU):
        patch.setattr(jax, "jit", jit)
        for index, phase in enumerate(settings.phases):
            spec = spec_of(settings, net, index, examples=200)
            if phase.inputs == "cached":
                step.make_epoch(spec, mesh, 2)
            else:
                step.make_step(spec, mesh)
        patch.setattr(inference, "make_fold", lambda *_: lambda weights: weights)
        programs.of_forward(settings, net, programs.weight_shapes(net), mesh, 64)
    assert len(asked) == len(settings.phases) + 4  # features, views, groups, logits
    return asked


def test_one_key_reaches_every_program_that_decides_a_run(monkeypatch):
    assert all(options == compiler.DETERMINISTIC for options in asked_by(monkeypatch, True))
    assert all(options is None for options in asked_by(monkeypatch, False))


def kernels(lowered, folder, options=None):
    """A lowered program compiled for a GPU: its HLO, and the instructions that XLA generates."""
    dump = {"xla_dump_to": str(folder), "xla_dump_emitter_re": ".*", "xla_dump_hlo_as_text": True}
    text = lowered.compile(compiler_options={**dump, **(options or {})}).as_text()
    instructions = "\n".join(file.read_text() for file in folder.glob("*.ptx"))
    assert ".entry" in instructions
    return text, instructions


ATOMIC = re.compile(r"\b(?:atom|red)\.\S+")


@pytest.mark.slow
def test_the_options_avoid_atomics_and_products_that_are_tuned(tmp_path):
    """Both are in the program without them, so that what looks for them is seen to find them."""
    place = NamedSharding(topology.slice_of("h100").mesh, PartitionSpec())
    shapes = (((64, 32), "float32"), ((99,), "int32"), ((99, 64), "float32"))
    arguments = (jax.ShapeDtypeStruct(*shape, sharding=place) for shape in shapes)
    lowered = jax.jit(lambda a, i, b: (b @ a).at[i].add(b @ a)).lower(*arguments)
    text, instructions = kernels(lowered, tmp_path / "plain")
    assert ATOMIC.search(instructions) and "gemm_fusion" in text and "__cublas$" not in text
    text, instructions = kernels(lowered, tmp_path / "exact", compiler.DETERMINISTIC)
    assert not ATOMIC.search(instructions) and "gemm_fusion" not in text and "__cublas$" in text


@pytest.mark.slow
def test_a_deterministic_step_has_neither(tmp_path):
    target, settings = topology.slice_of("h100"), load.read(base.get_config())
    with platform.targeting(*target.platform):
        spec = tiny.spec(tiny.model(), tiny.phase(groups=tiny.ALL_GROUPS))
        spec = replace(spec, deterministic=True)
        shapes = programs.weight_shapes(spec.model)
        lowered = programs.of_phase(spec, settings, shapes, target.mesh).lower()
        text, instructions = kernels(lowered, tmp_path)
    assert "convBackwardFilter" in text  # the whole network's gradient
    assert not ATOMIC.search(instructions) and "gemm_fusion" not in text
