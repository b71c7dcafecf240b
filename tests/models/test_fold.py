"""A folded body computes what the body computes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import images, normal

from jaxft.devices import platform
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES
from jaxft.models.fold import fold, norm_after
from jaxft.models.registry import BODIES, create

pytestmark = pytest.mark.one_device

NAMES = ("efficientnet_lite0", "resnet18", "resnext50_32x4d")


def randomised(name, dtype="float32", conv="auto"):
    """A model and parameters whose BatchNorm scales, offsets and statistics all matter."""
    model = create(name, 5, hidden=(), pooling="avg", dtype=dtype, conv=conv)

    def leaf(path, array):
        key = jax.tree_util.keystr(path)
        numbers = normal(key, array.shape)
        if array.ndim > 1:
            return jnp.asarray(numbers * np.sqrt(2 / np.prod(array.shape[:-1])))
        positive = key.endswith(("['scale']", "['var']"))
        return jnp.asarray(1 + 0.3 * np.tanh(numbers) if positive else 0.3 * numbers)

    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, *jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_same_features(name):
    with jax.enable_x64(True):
        model, params, stats = randomised(name)
        x = jnp.asarray(images(2, 64))
        plain = jax.jit(lambda p, s: model.features(p, s, x)[0])(params, stats)
        folded = jax.jit(lambda p, s: fold(model.body, p, s))(params, stats)
        again = jax.jit(lambda p, s: model.features(p, s, x)[0])(*folded)
    np.testing.assert_allclose(again, plain, rtol=1e-10, atol=1e-10 * np.abs(plain).max())
    assert "scale" not in str(jax.tree_util.tree_structure(folded[0]["early"]))
    assert folded[1]["late"] == {} or not jax.tree.leaves(folded[1]["late"])


def test_kernels_come_in_the_compute_dtype_and_packed():
    model, params, stats = randomised("resnext50_32x4d", "bfloat16")
    shape = jax.eval_shape(lambda p, s: fold(model.body, p, s), params, stats)[0]
    conv2 = shape["late"]["layer3_1"]["conv2"]["folded"]
    assert (conv2.shape, conv2.dtype) == ((3, 3, 32, 512), jnp.bfloat16)
    assert shape["late"]["layer3_1"]["bn2"]["offset"].dtype == jnp.float32
    with platform.targeting("tpu", "v5e"):
        shape = jax.eval_shape(lambda p, s: fold(model.body, p, s), params, stats)[0]
    assert shape["late"]["layer3_1"]["conv2"]["folded"].shape == (3, 3, 128, 512)
    assert shape["late"]["layer3_1"]["conv1"]["folded"].shape == (1, 1, 1024, 512)


@pytest.mark.slow
@pytest.mark.parametrize("conv,shape,groups", [
    ("native", (3, 3, 16, 512), {32}),
    ("packed:64", (3, 3, 64, 512), {2, 4, 8, 16}),
    ("blocks:256", (3, 3, 256, 512), {1}),
    ("dense", (3, 3, 512, 512), {1}),
])  # fmt: skip
def test_the_lowering_that_a_config_names_is_what_runs_and_what_is_folded(conv, shape, groups):
    with jax.enable_x64(True):
        model, params, stats = randomised("resnext50_32x4d", conv=conv)
        folded, left = fold(model.body, params, stats)
        assert folded["late"]["layer3_1"]["conv2"]["folded"].shape == shape
        x = jnp.asarray(images(1, 32))
        run = lambda p, s, x: model.features(p, s, x)[0]  # noqa: E731
        for variables in ((params, stats), (folded, left)):
            jaxpr = str(jax.make_jaxpr(run)(*variables, x))
            assert set(map(int, re.findall(r"feature_group_count=(\d+)", jaxpr))) == groups
        if conv == "packed:64":  # test_conv.py compares all of them, layer by layer
            again, plain = jax.jit(run)(folded, left, x), jax.jit(run)(params, stats, x)
            np.testing.assert_allclose(again, plain, rtol=1e-9, atol=1e-9 * np.abs(plain).max())


def test_frozen_groups_are_folded_and_a_head_passes_through():
    model, params, stats = randomised("resnet18")
    folded, left = fold(model.body, {"early": params["early"]}, {"early": stats["early"]})
    assert folded.keys() == left.keys() == {"early"}
    folded, _ = fold(model.body, params, stats)
    assert folded["head"] is params["head"]


@pytest.mark.slow
def test_every_bodys_convolutions_find_their_batchnorms():
    for name in BODIES:
        model = create(name, 5)
        shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
        for group in ("early", "late"):
            for path, leaf in jax.tree_util.tree_leaves_with_path(shapes[group]):
                if leaf.ndim == 4:
                    *modules, conv, _ = (entry.key for entry in path)
                    tree = shapes[group]
                    for module in modules:
                        tree = tree[module]
                    assert tree[norm_after(conv)]["scale"].shape == leaf.shape[-1:]


def test_the_grouped_convolutions_of_a_body_are_those_it_names():
    """Only `grouped` tells fold how wide a group is: nothing in a kernel's shape does."""
    for name in BODIES:
        body = create(name, 5).body
        groups = ARCHITECTURES[name].groups if name.startswith("res") else 1
        assert dict(body.grouped) == ({"conv2": groups} if groups > 1 else {})
