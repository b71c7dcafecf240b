"""ResNet and ResNeXt: sizes, groups, names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxft.models import resnet, torch_names

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
@pytest.mark.parametrize("name", resnet.BODIES)
def test_the_number_of_parameters_is_the_published_one(name):
    shapes = [entry.shape for entry in torch_names.entries(name) if entry.collection == "params"]
    assert sum(map(math.prod, shapes)) == PARAMETERS[name]


def test_the_groups_are_cut_after_layer2():
    entries = torch_names.entries("resnext50_32x4d")
    modules = {"early": set(), "late": set(), "head": set()}
    for entry in entries:
        modules[entry.path[0]].add(entry.path[1].partition("_")[0])
    assert modules == {
        "early": {"conv1", "bn1", "layer1", "layer2"},
        "late": {"layer3", "layer4"},
        "head": {"linear0"},
    }


def test_shapes_of_the_features_and_bfloat16():
    body = resnet.body("resnet50", "bfloat16")
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
    block = resnet.BasicBlock(resnet.ARCHITECTURES["resnet18"], 128, 1)
    variables = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 128)), train=False)
    kernel = variables["params"]["conv2"]["kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
