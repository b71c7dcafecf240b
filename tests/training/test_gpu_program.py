"""Programs compiled for absent GPUs, and the lowerings for them run on a CPU.

What a compiled program calls, copies and sends is in its text; how long it takes is not.
"""

import importlib.util
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import Mesh

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.costs import planning, programs
from jaxft.costs.collectives import collectives
from jaxft.costs.costs import Costs
from jaxft.costs.hlo import computations
from jaxft.costs.sizes import Sizes
from jaxft.costs.traffic import touched
from jaxft.devices import platform, sharding, topology
from jaxft.errors import UserError
from jaxft.materials.model import create_model
from jaxft.models.bodies.resnet import network
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES, Architecture
from jaxft.models.bodies.resnet.network import Bottleneck
from jaxft.models.registry import BODIES
from jaxft.training import step
from jaxft.training.spec import spec_of

BATCH = 32


@pytest.fixture(scope="module")
def shallow():
    """A ResNeXt of one block a layer, with every kind of block and convolution that there is."""
    with pytest.MonkeyPatch.context() as patch:
        one = Architecture((1, 1, 1, 1), groups=64, group_width=4)
        patch.setitem(ARCHITECTURES, "shallow", one)
        patch.setitem(BODIES, "shallow", lambda dtype, conv: network.body("shallow", dtype, conv))
        yield "shallow"


def compiled(name, phase, where="h100", batch=BATCH, image_size=64):
    """The forward pass (phase None) or a phase's step of the furniture card, as HLO text."""
    target = topology.slice_of(where)
    card = load.read(load_config("furniture_resnext101"))
    chosen = card.phases[phase or 0]
    settings = replace(
        card,
        phases=(replace(chosen, image_size=image_size),),
        model=replace(card.model, name=name),
        data=replace(card.data, batch_size=batch * target.mesh.size),
    )
    with platform.targeting(*target.platform):
        model = create_model(settings, 128)
        weights = programs.weight_shapes(model)
        if phase is None:
            call = programs.of_forward(settings, model, weights, target.mesh, image_size)
        else:
            spec = spec_of(settings, model, 0, 10_000)
            call = programs.of_phase(spec, settings, weights, target.mesh, epoch_steps=7)
        return call.lower().compile().as_text()


def calls(text):
    """Number of the program's calls of each function of cuDNN."""
    targets = re.findall(r'custom_call_target="__cudnn\$(\w+)"', text)
    return {name: targets.count(name) for name in set(targets)}


@pytest.fixture(scope="module")
def full_step(shallow):
    return compiled(shallow, 2)


@pytest.mark.slow
def test_every_convolution_of_the_forward_pass_is_one_call_with_offset_and_activation():
    """Without these 67.8 GB were touched: each sum and ReLU was a pass of its own."""
    text = compiled("resnext101_64x4d", None, batch=256, image_size=224)
    assert calls(text) == {"convBiasActivationForward": 104}
    assert touched(computations(text)) < 38e9


@pytest.mark.slow
def test_a_frozen_body_under_a_head_that_trains_is_as_cheap(shallow):
    assert calls(compiled(shallow, 1)) == {"convBiasActivationForward": 17}


@pytest.mark.slow
def test_the_train_step_has_no_scatter(full_step):
    assert " scatter(" not in full_step


@pytest.mark.slow
def test_the_train_step_copies_no_kernels(full_step):
    """Gradients that lie otherwise than parameters cost copies of these and of all momenta."""
    assert not re.findall(r"= f32\[\d+,\d+,\d+,\d+\]\S* copy\(", full_step)


@pytest.mark.slow
def test_a_step_of_the_head_is_few_kernels(shallow):
    """There were 33: each has a launch of its own, and most take no longer than that."""
    text = compiled(shallow, 0, batch=512)
    (body,) = re.findall(r" while\(.*body=%([\w.]+)", text)
    kernels = [o for o in computations(text)[body] if o.opcode in ("fusion", "custom-call")]
    assert len(kernels) <= 31
    assert sum("triton_softmax" in kernel.name for kernel in kernels) == 1


@pytest.mark.slow
def test_eight_gpus_exchange_sums_alone_and_many_beside_other_work(shallow):
    """All of them with jax 0.10.2, and with 0.12 those that have something to hide behind."""
    text = compiled(shallow, 2, "h100:8", batch=8)
    found = collectives(computations(text))
    assert set(found) == {"all-reduce"}
    assert found["all-reduce"].asynchronous > found["all-reduce"].number / 3


@pytest.mark.parametrize("name", ["h100:0", "h100:x", "h100:2x4", "h300"])
def test_an_unknown_card_lists_the_known_ones(name):
    with pytest.raises(UserError, match="a100, a100-80, h100, h200"):
        topology.slice_of(name)


def test_without_the_plugin_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"jaxft\[cuda_compiler\]"):
        topology.slice_of("h100")


@pytest.mark.slow
def test_a_block_has_the_same_gradients_in_its_form_for_gpus():
    with jax.enable_x64(True):
        block = Bottleneck(Architecture((1, 1, 1, 1), groups=8), 16, 2, "float64")
        x = jax.random.normal(jax.random.key(0), (2, 7, 8, 12))
        variables = jax.jit(block.init, static_argnums=2)(jax.random.key(1), x, False)

        def loss(variables, x):
            y, _ = block.apply(variables, x, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y))

        plain = jax.jit(jax.grad(loss, (0, 1)))(variables, x)
        with platform.targeting("gpu", ""):
            for_gpu = jax.jit(lambda *a: jax.grad(loss, (0, 1))(*a))(variables, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), for_gpu, plain
    )


@pytest.mark.slow
def test_steps_keep_kernels_where_a_gpu_wants_them_and_change_no_number():
    """Kernels lie outputs first, before a step and after it; the numbers are a CPU's."""
    net = tiny.model(groups=4)
    spec = tiny.spec(net, tiny.phase(groups=tiny.ALL_GROUPS))
    mesh = sharding.data_mesh(2)

    def after_two_steps():
        one_step = step.make_step(spec, mesh)
        state, frozen = sharding.replicate(step.start(spec, tiny.weights(net, "float64")), mesh)
        rates, seed = sharding.replicate((np.full(4, 0.1), np.int32(0)), mesh)
        batch = sharding.split_batch(tiny.canvases(8, 16), mesh)
        for _ in range(2):
            state, _ = one_step(state, frozen, batch, rates, seed)
        return state.params

    with jax.enable_x64(True):
        plain = after_two_steps()
        with platform.targeting("gpu", ""):
            for_gpu = after_two_steps()
        layout = for_gpu["late"]["conv1"]["kernel"].format.layout
        assert layout.major_to_minor == (3, 0, 1, 2)
        assert plain["late"]["conv1"]["kernel"].format.layout.major_to_minor == (0, 1, 2, 3)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), for_gpu, plain
        )


@pytest.mark.slow
def test_plan_says_what_a_card_would_do(tiny, drawn):
    """The whole of `jaxft plan --topology=h100` on a small model."""
    import tiny_config

    from jaxft.costs import plan_text
    from jaxft.runtime.console import Console

    settings = load.read(tiny_config.get_config(drawn))
    target = topology.slice_of("h100")
    found = planning.make(settings, Sizes(96, 32, 3, "made up"), target, Console(None))
    assert isinstance(target.mesh, Mesh) and target.mesh.size == 1
    assert all(isinstance(one.costs, Costs) and one.costs.bytes > 0 for one in found.programs)
    assert "h100" in plan_text.text(found)


@pytest.mark.slow
def test_a_run_in_its_forms_for_gpus_ends_as_a_run_on_cpu(drawn, tmp_path):
    """A phase that trains everything: its range test, its cycles, and the weights that are kept."""
    import tiny_body
    import tiny_config

    import jaxft
    from jaxft import run

    def kernel(where):
        return jaxft.restore(tmp_path / where).params["late"]["conv1"]["kernel"]

    config = tiny_config.get_config(drawn)
    config.model.name, config.phases = "tiny_grouped", config.phases[2:]
    config.finder.hi = 0.1  # a diverging run would magnify the last bit
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny_grouped", tiny_body.grouped)
        plain = run.train(config, tmp_path / "cpu")
        with platform.targeting("gpu", ""):
            for_gpu = run.train(config, tmp_path / "gpu")
        assert [p["lr"] for p in for_gpu["phases"]] == [p["lr"] for p in plain["phases"]]
        assert for_gpu["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-3)
        np.testing.assert_allclose(kernel("gpu"), kernel("cpu"), rtol=1e-2, atol=1e-4)
