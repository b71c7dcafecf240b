"""Cost of a run, on the present device and on an absent TPU."""

import dataclasses
import importlib.util
import io
import json
import types

import jax
import numpy as np
import pytest
import tiny_config
from jax.sharding import Mesh

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.costs import compilation, plan_json, plan_plot, plan_text, planning
from jaxft.costs.assumptions import sizes_of
from jaxft.costs.call import Call
from jaxft.costs.compilation import Lowered, compile_job
from jaxft.costs.costs import Costs, Memory
from jaxft.costs.program import Program, Refusal, fit_of
from jaxft.costs.sizes import Sizes
from jaxft.costs.verdict import verdict
from jaxft.devices import chips, pool, topology
from jaxft.devices.platform import Platform
from jaxft.errors import UserError
from jaxft.models.body import TORCHVISION
from jaxft.runtime.console import Console

GIB = 2**30


def settings_for(folder):
    return load.read(tiny_config.get_config(folder))


def one_device():
    return topology.here()._replace(mesh=Mesh(np.asarray(jax.devices()[:1]), ("data",)))


@pytest.fixture(scope="module")
def planned(drawn):
    import tiny_body

    from jaxft.models.registry import BODIES

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        settings = settings_for(drawn)
        sizes = sizes_of(settings, None, None)
        yield planning.make(settings, sizes, one_device(), Console(None))


def test_phases_steps_and_parameters(planned):
    names = [p.name for p in planned.phases]
    assert names == ["head_cached", "head_augmented", "full"]
    steps = planned.sizes.train // 8
    assert [p.steps for p in planned.phases] == [2 * steps, 2 * steps, 3 * steps]
    assert [p.at_most for p in planned.phases] == [False, False, True]
    assert [p.finder_steps for p in planned.phases] == [
        24,
        0,
        23,
    ]  # by distance from 2e-4, not 1e-4
    assert planned.phases[0].parameters == planned.phases[1].parameters
    assert planned.phases[2].parameters > planned.phases[1].parameters


def test_a_step_that_trains_more_costs_more(planned):
    cached, head, full = (p.program.costs for p in planned.phases)
    assert cached.flops < head.flops < full.flops


def test_the_weights_own_image_size(drawn, tiny):
    config = tiny_config.get_config(drawn)
    config.data.image_size, config.phases = 0, config.phases[:1]
    settings = load.read(config)
    sizes = sizes_of(settings, None, None)
    told = io.StringIO()
    found = planning.make(settings, sizes, one_device(), Console(told))
    assert found.settings.data.image_size == TORCHVISION.image_size == 224
    assert "taken" not in told.getvalue()  # weights="none" expect what the model does


def test_json_and_words(planned, tmp_path):
    data = json.loads(json.dumps(plan_json.as_json(planned)))
    assert set(data["programs"]) == {"head_cached", "head_augmented", "full"}
    assert "full" in plan_text.text(planned) and "not known" in plan_text.text(planned)
    plan_plot.plot(planned, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def program(temporary, images=64):
    memory = Memory(2 * GIB, GIB, GIB, temporary, 0)
    return Program("full", images, Costs(1.0, 1.0, memory, {}, None, None), 0.0)


def test_what_fits_and_which_batch_would():
    roomy = fit_of(program(8 * GIB), 16 * GIB, 8)
    assert roomy.fits and roomy.needed == 10 * GIB and roomy.batch == 8 * 112
    tight = fit_of(program(28 * GIB), 16 * GIB, 8)
    assert not tight.fits and tight.batch == 8 * 32
    assert fit_of(program(28 * GIB), GIB, 8).batch is None
    assert fit_of(program(8 * GIB), None, 8).fits is None


def refusing(message):
    """Lowered; the compiler refuses it."""

    def compile_it():
        raise jax.errors.JaxRuntimeError(message)

    return Lowered(types.SimpleNamespace(compile=compile_it), 0.0)


def test_a_refusal_of_the_compiler_is_told_with_its_numbers(drawn, tiny):
    settings, target = settings_for(drawn), one_device()
    job = compilation.Job("full", Call(None, ()), 1, 1)
    message = "RESOURCE_EXHAUSTED: Ran out of memory in hbm. Used 31.5G of 15.75G hbm. Exceeded"
    found = compile_job(job, refusing(message), settings, target)
    assert found.costs == Refusal(31.5 * GIB, 15.75 * GIB)
    assert fit_of(Program("full", 64, found.costs, 0.0), 16 * GIB, 4).batch == 4 * 32
    for other in ("INTERNAL: something else", "RESOURCE_EXHAUSTED: Out of memory allocating 8"):
        with pytest.raises(jax.errors.JaxRuntimeError):
            compile_job(job, refusing(other), settings, target)


def test_a_shortage_while_compiling_is_the_users(drawn, tiny, monkeypatch):
    def short(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592")

    monkeypatch.setattr(planning, "compile_all", short)
    settings = settings_for(drawn)
    with pytest.raises(UserError, match=r"8\.00 GiB"):
        planning.make(settings, Sizes(24, 8, 3, "x"), one_device(), Console(None))


def held_against(planned, bytes_there, words="JAX's pool, 75% of a card"):
    """The verdict on a plan for a GPU with so large a pool."""
    target = planned.target._replace(platform=Platform("gpu", "NVIDIA H100 80GB HBM3"))
    there = pool.Pool(bytes_there, words)
    return "\n".join(verdict(dataclasses.replace(planned, target=target, pool=there)))


def test_the_verdict_says_what_it_is_held_against(planned):
    needed = max(fit.needed for fit in planned.fit.values())
    fits = held_against(planned, 2 * needed)
    assert "It fits" in fits and "JAX's pool, 75% of a card" in fits
    assert "cuDNN" in fits and "microbatches" not in fits
    tight = held_against(planned, 0.9 * needed)
    assert "It does not fit" in tight and "JAX's pool, 75% of a card" in tight
    assert "config.phases.full.microbatches" in tight and "phases.head" not in tight


def test_without_the_compilers_count_there_is_a_roofline(drawn, tiny, monkeypatch):
    """So it is for a GPU, whose programs XLA cannot count ahead of time."""
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: None)
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[:1]
    target = one_device()._replace(device=chips.of_platform(Platform("gpu", "H100")))
    found = planning.make(load.read(config), Sizes(24, 8, 3, "x"), target, Console(None))
    for program in found.programs:
        assert isinstance(program.costs, Costs) and program.costs.roofline_seconds
        assert program.costs.flops and program.costs.bytes
    assert found.phases[0].seconds


def test_without_the_data_the_sizes_are_the_cards_or_the_users(tiny, tmp_path):
    settings = load.read(load_config("furniture_resnext101"))
    assert sizes_of(settings, None, None)[:3] == (180_000, 6_400, 128)
    assert sizes_of(settings, 1000, 5)[:3] == (1000, 6_400, 5)
    with pytest.raises(UserError, match="--examples=N"):
        sizes_of(settings_for(tmp_path / "none"), None, None)


@pytest.mark.parametrize("name", ["v5e:3x3", "v9:2x2", "v5e", "2x4", "v5e:2x4x1"])
def test_an_unknown_topology_lists_the_known_ones(name):
    with pytest.raises(UserError, match="v6e: 2x2, 2x4"):
        topology.slice_of(name)


def test_without_libtpu_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jaxft\[tpu\]"):
        topology.slice_of("v5e:2x4")


@pytest.mark.slow
def test_a_small_model_compiles_for_a_tpu_that_is_not_there(tiny, drawn):
    assert importlib.util.find_spec("libtpu"), "libtpu comes with [dev]; without it this must fail"
    target = topology.slice_of("v5e:2x2")
    settings = settings_for(drawn)
    found = planning.make(settings, Sizes(96, 32, 3, "made up"), target, Console(None))
    assert (target.mesh.size, target.chips) == (4, 4)
    for one in found.programs:
        assert isinstance(one.costs, Costs) and one.costs.model and one.costs.model.costed > 0
        assert "all-gather" not in one.costs.collectives
    assert all(fit.fits for fit in found.fit.values())
    words = plan_text.text(found)
    assert "It fits" in words and "XLA's cost model" in words
