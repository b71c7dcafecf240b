"""The tables between PyTorch's names and ours, both ways."""

import hashlib
import json

import jax
import numpy as np
import pytest
from places import GOLDEN
from random_weights import normal

from jaxft.errors import UserError
from jaxft.models.weights import torch_names
from jaxft.models.weights.torch_names import body_from_torch, entries, to_torch

DIGESTS = json.loads((GOLDEN / "names.json").read_text())


@pytest.fixture(scope="module", name="arrays")
def _arrays() -> dict[str, np.ndarray]:
    return {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in entries("resnet18")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", torch_names.ORIGINALS)
def test_names_and_shapes_are_those_of_the_originals_state_dict(name):
    lines = sorted(f"{entry.name} {entry.shape}" for entry in entries(name))
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == DIGESTS[name]


def test_there_and_back(arrays):
    params, stats = body_from_torch("resnet18", arrays, with_head=True)
    assert params.keys() == {"early", "late", "head"}
    assert stats["head"] == {}
    jax.tree.map(np.testing.assert_array_equal, to_torch("resnet18", params, stats), arrays)


def test_the_layout_is_jaxs(arrays):
    params, _ = body_from_torch("resnet18", arrays, with_head=True)
    kernel = params["early"]["layer2_0"]["conv1"]["kernel"]
    assert kernel[2, 0, 5, 7] == arrays["layer2.0.conv1.weight"][7, 5, 2, 0]
    assert params["head"]["linear0"]["kernel"][3, 4] == arrays["fc.weight"][4, 3]


def test_counters_are_passed_over_and_the_classifier_need_not_be_there(arrays):
    body = {key: value for key, value in arrays.items() if not key.startswith("fc.")}
    body["bn1.num_batches_tracked"] = np.array(5)
    params, stats = body_from_torch("resnet18", body)
    assert params.keys() == stats.keys() == {"early", "late"}
    assert to_torch("resnet18", params, stats).keys() == arrays.keys() - {"fc.weight", "fc.bias"}
    with pytest.raises(UserError, match=r"missing: fc.weight"):
        body_from_torch("resnet18", body, with_head=True)


def test_a_classifier_may_have_any_number_of_classes(arrays):
    other = {**arrays, "fc.weight": np.ones((7, 512)), "fc.bias": np.ones(7)}
    params, _ = body_from_torch("resnet18", other, with_head=True)
    assert params["head"]["linear0"]["kernel"].shape == (512, 7)
    assert body_from_torch("resnet18", other)[0].keys() == {"early", "late"}


def test_parameters_are_float32_whatever_the_file_holds(arrays):
    halves = {key: value.astype(np.float16) for key, value in arrays.items()}
    trees = body_from_torch("resnet18", halves)
    assert {leaf.dtype for leaf in jax.tree.leaves(trees)} == {np.dtype("float32")}


def test_every_wrong_name_is_listed_at_once(arrays):
    wrong = {**arrays, "surprise": np.ones(2), "bn1.weight": np.ones(3)}
    wrong["bn1.bias"] = np.ones(64, np.int32)
    del wrong["conv1.weight"], wrong["layer4.1.bn2.running_var"]
    with pytest.raises(UserError) as refusal:
        body_from_torch("resnet18", wrong)
    assert refusal.value.offenders == (
        "missing: conv1.weight (64, 3, 7, 7)",
        "missing: layer4.1.bn2.running_var (512,)",
        "unexpected: surprise (2,)",
        "wrong shape: bn1.weight is (3,), resnet18 has (64,)",
        "not floating-point: bn1.bias is int32",
    )


def test_a_head_without_counterpart_is_refused_on_the_way_out(arrays):
    params, stats = body_from_torch("resnet18", arrays)
    del params["late"]["layer3_0"]
    with pytest.raises(UserError) as refusal:
        to_torch("resnet18", {**params, "head": {"bn0": {"scale": np.ones(3)}}}, stats)
    assert "missing: late/layer3_0/conv1/kernel" in refusal.value.offenders
    assert "unexpected: head/bn0/scale" in refusal.value.offenders


# --- fastai's names -----------------------------------------------------------------------------

NUMBERED = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
LUA_BLOCK = {  # where fastai 0.7's ResNeXt, which came from Lua Torch, keeps a block's modules
    "conv1": "0.0.0.0", "bn1": "0.0.0.1", "conv2": "0.0.0.3", "bn2": "0.0.0.4",
    "conv3": "0.0.1", "bn3": "0.0.2", "downsample.0": "0.1.0", "downsample.1": "0.1.1",
}  # fmt: skip


def fastai_name(name: str, lua: bool) -> str:
    """torchvision's name of an array of the body -> fastai 0.7's."""
    first, *rest = name.split(".")
    if lua and first.startswith("layer"):
        rest = [rest[0], LUA_BLOCK[".".join(rest[1:-1])], rest[-1]]
    return ".".join([NUMBERED[first], *rest])


@pytest.mark.slow
@pytest.mark.parametrize("prefix,head", [("", "10.weight"), ("0.", "1.8.weight")])
@pytest.mark.parametrize("name,lua", [("resnet18", False), ("resnext50_32x4d", True)])
def test_fastais_names_are_recognised_and_its_head_left_out(name, lua, prefix, head):
    arrays = {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in entries(name)
        if entry.path[0] != "head"
    }
    theirs = {f"{prefix}{fastai_name(key, lua)}": value for key, value in arrays.items()}
    params, stats = body_from_torch(
        name, {**theirs, head: np.ones(5), "1.num_batches_tracked": np.ones(())}
    )
    jax.tree.map(np.testing.assert_array_equal, to_torch(name, params, stats), arrays)
    del theirs[f"{prefix}0.weight"]
    with pytest.raises(UserError, match="not the weights"):
        body_from_torch(name, theirs)
    assert fastai_name("layer1.2.conv2.weight", True) == "4.2.0.0.0.3.weight"
