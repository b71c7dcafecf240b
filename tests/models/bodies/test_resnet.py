"""ResNet and ResNeXt: sizes, groups, names."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxft.devices import platform
from jaxft.models.bodies.resnet import network
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES
from jaxft.models.bodies.resnet.network import BasicBlock, Bottleneck
from jaxft.models.conv.lowerings import parts
from jaxft.models.weights import torch_names

pytestmark = pytest.mark.one_device

# Parameters with the classifier for 1000 classes, as torchvision publishes them (32x4d: timm).
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x4d": 44_177_704,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", network.BODIES)
def test_the_number_of_parameters_is_the_published_one(name):
    shapes = [entry.shape for entry in torch_names.entries(name) if entry.collection == "params"]
    assert sum(map(math.prod, shapes)) == PARAMETERS[name]


def test_the_groups_are_cut_after_layer2():
    entries = torch_names.entries("resnext50_32x4d")
    modules: dict[str, set[str]] = {"early": set(), "late": set(), "head": set()}
    for entry in entries:
        modules[entry.path[0]].add(entry.path[1].partition("_")[0])
    assert modules == {
        "early": {"conv1", "bn1", "layer1", "layer2"},
        "late": {"layer3", "layer4"},
        "head": {"linear0"},
    }


def test_shapes_of_the_features_and_bfloat16():
    body = network.body("resnet50", "bfloat16")
    x = jax.ShapeDtypeStruct((2, 224, 160, 3), jnp.float32)
    early, variables = jax.eval_shape(
        lambda x: body.early.init_with_output(jax.random.key(0), x, train=False), x
    )
    late, _ = jax.eval_shape(
        lambda x: body.late.init_with_output(jax.random.key(0), x, train=False), early
    )
    assert early.shape == (2, 28, 20, 512)
    assert (late.shape, late.dtype) == ((2, 7, 5, body.channels), jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_kernels_are_kaiming_normal_by_fan_out():
    block = BasicBlock(ARCHITECTURES["resnet18"], 128, 1)
    variables = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 128)), train=False)
    kernel = variables["params"]["conv2"]["kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


def test_channels_stay_in_their_groups_where_those_fill_a_tile_of_tpu():
    with platform.targeting("tpu", "v5e"):
        found = [parts(channels, 64) for channels in (256, 512, 1024, 2048)]
        assert found == [1, 4, 8, 16]
        assert parts(1024, 64, "native") == parts(256, 1) == 1
    with platform.targeting("gpu", "H100"):
        assert parts(1024, 64) == 1


def test_the_stem_normalises_fewer_pixels_on_tpu_and_computes_the_same():
    early = network.Early(ARCHITECTURES["resnet18"]._replace(blocks=(0, 0, 0, 0)), "float64")
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 24, 3)))
        variables = early.init(jax.random.key(0), x, train=False)

        def loss(params):
            given = {**variables, "params": params}
            y, new = early.apply(given, x, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), new

        def lowered(name, chip):
            with platform.targeting(name, chip):
                step = jax.value_and_grad(loss, has_aux=True)
                text = str(jax.make_jaxpr(step)(variables["params"]))
                return "f64[2,8,12,64] = max" in text, step(variables["params"])

        (clipped_on_tpu, on_tpu), (clipped, on_gpu) = lowered("tpu", "v5e"), lowered("gpu", "H100")
    assert clipped and not clipped_on_tpu
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), on_tpu, on_gpu)


@pytest.mark.slow
def test_a_block_lowered_for_tpu_computes_the_same():
    """Outputs, gradients and running statistics, with the channels in four parts and in none."""
    with jax.enable_x64(True):
        block = Bottleneck(ARCHITECTURES["resnext101_64x4d"], 128, 1, "float64")
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 512)))
        variables = block.init(jax.random.key(0), x, train=False)

        def loss(params, x):
            given = {**variables, "params": params}
            y, new = block.apply(given, x, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), new

        def lowered(name, chip):
            with platform.targeting(name, chip):
                step = jax.value_and_grad(loss, (0, 1), has_aux=True)
                parted = "4,4,4,128]" in str(jax.make_jaxpr(step)(variables["params"], x))
                return parted, jax.jit(step)(variables["params"], x)

        (parted, on_tpu), (whole, on_gpu) = lowered("tpu", "v5e"), lowered("gpu", "H100")
    assert parted and not whole
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), on_tpu, on_gpu
    )
