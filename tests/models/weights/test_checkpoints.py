"""Checkpoints as trainers write them: the weights come out, and nothing beside them is run."""

import argparse
import json
import os
import random
from collections import Counter, OrderedDict, defaultdict

import jax
import numpy as np
import pytest
from random_weights import normal
from torch_file import saved

from jaxft.errors import UserError
from jaxft.models.weights import pretrained
from jaxft.models.weights.named_file import named
from jaxft.models.weights.torch_file.malformed import MalformedFile
from jaxft.models.weights.torch_names import body_from_torch, entries
from jaxft.models.weights.weight_file import read_torch, read_weights


class Trainer:
    """An object with a class of its own, attributes, and a function that unpickling would call."""

    def __init__(self):
        self.rate = 0.1

    def __reduce__(self):
        return os.mkdir, ("jaxft-was-here",), {"rate": 0.1}


WEIGHTS = OrderedDict({"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)})
AVERAGED = OrderedDict({"a.weight": np.ones((2, 3), np.float32)})
OPTIMIZER = {
    "state": {0: {"step": np.array(3.0, np.float32), "exp_avg": np.ones(6, np.float32)}},
    "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}],
}
BESIDE = {
    "args": argparse.Namespace(lr=0.1, long=1 << 200, by_name=os.path.join, kind=Counter, set={1}),
    "best_acc1": np.float64(0.5),
    "trainer": Trainer(),
    "hyper_parameters": defaultdict(int, a=1),
    "optimizer": OPTIMIZER,
    "rng": {"cpu": np.arange(3), "cuda": np.arange(3)},
    "random": random.Random(0).getstate(),
    "spectrum": np.ones(2, np.complex64),
    (1, None): {2.5: frozenset({b"bytes"})},
}


def the_same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "network"])
def test_the_one_dict_of_tensors_is_taken_and_no_object_beside_it_made(
    tmp_path, monkeypatch, name, protocol
):
    monkeypatch.chdir(tmp_path)
    the_same(read_torch(saved({"epoch": 3, **BESIDE, name: WEIGHTS}, protocol=protocol)), WEIGHTS)
    nested = {**BESIDE, "trainer": {name: WEIGHTS, "epoch": 1}}
    the_same(read_torch(saved(nested, protocol=protocol)), WEIGHTS)
    assert not list(tmp_path.iterdir())


def test_an_optimizer_beside_the_weights_is_passed_over_in_the_old_layout():
    the_same(read_torch(saved({"optimizer": OPTIMIZER, "net": WEIGHTS}, "legacy")), WEIGHTS)


def test_of_several_state_dicts_one_can_be_chosen():
    content = saved({"state_dict": WEIGHTS, "state_dict_ema": AVERAGED, **BESIDE})
    with pytest.raises(MalformedFile, match="several state dicts") as refusal:
        read_torch(content)
    assert refusal.value.offenders == ("state_dict: 1 tensors", "state_dict_ema: 1 tensors")
    assert "file:PATH#state_dict_ema" in refusal.value.hint
    the_same(read_torch(content, "state_dict"), WEIGHTS)
    the_same(read_torch(content, "state_dict_ema"), AVERAGED)
    with pytest.raises(MalformedFile, match="no state dict called 'ema'") as refusal:
        read_torch(content, "ema")
    assert "state_dict: 1 tensors" in refusal.value.offenders


def test_nested_state_dicts_are_chosen_by_their_path():
    content = saved({"models": {"student": WEIGHTS, "teacher": AVERAGED}})
    with pytest.raises(MalformedFile) as refusal:
        read_torch(content)
    assert "models/teacher: 1 tensors" in refusal.value.offenders
    the_same(read_torch(content, "models/teacher"), AVERAGED)


def test_objects_where_weights_should_be_are_refused_by_name():
    with pytest.raises(MalformedFile, match="holds no state dict") as refusal:
        read_torch(saved({"model": Trainer(), "epoch": 1, "best": None}))
    assert refusal.value.offenders == (
        f"model is an object, {os.mkdir.__module__}.mkdir, which is not read: "
        "save its state_dict()",
        "epoch is of type int",
        "best is None",
    )
    with pytest.raises(MalformedFile, match="holds no state dict"):
        read_torch(saved({"a.weight": WEIGHTS["a.weight"], "b.weight": Trainer()}))


# --- prefixes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="arrays")
def _arrays():
    return {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in entries("resnet18")
    }


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "cnn."]
)
def test_prefixes_that_all_names_have_are_dropped_in_any_order(arrays, prefix):
    wrapped = {prefix + key: value for key, value in arrays.items()}
    expected, found = (body_from_torch("resnet18", one, True) for one in (arrays, wrapped))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_counter_of_averaged_weights_is_passed_over(arrays):
    averaged = {"n_averaged": np.array(1), **{f"module.{key}": a for key, a in arrays.items()}}
    assert body_from_torch("resnet18", averaged)[0].keys() == {"early", "late"}


def test_a_prefix_that_some_names_have_is_told_in_a_line(arrays):
    wrapped = {f"encoder_q.{key}": value for key, value in arrays.items()}
    with pytest.raises(UserError) as refusal:
        body_from_torch("resnet18", {**wrapped, "queue": np.ones(2)})
    assert refusal.value.offenders == (
        "its names stand behind 'encoder_q.', beside 1 others, such as queue: only a prefix that "
        "all names have is dropped",
    )


def test_part_of_a_body_is_not_taken_for_a_prefix(arrays):
    first = {key: value for key, value in arrays.items() if key.startswith("layer1.")}
    with pytest.raises(UserError) as refusal:
        body_from_torch("resnet18", first)
    assert "missing: conv1.weight (64, 3, 7, 7)" in refusal.value.offenders
    assert not [line for line in refusal.value.offenders if line.startswith("unexpected")]


def test_names_of_which_none_fits_are_told_in_a_line(arrays):
    with pytest.raises(UserError) as refusal:
        body_from_torch("efficientnet_lite0", arrays)
    (line,) = refusal.value.offenders
    assert line.startswith("4 of its 102 names are among efficientnet_lite0's")
    assert "where efficientnet_lite0 has _blocks.0." in line


# --- the file that a config names ---------------------------------------------------------------


def test_a_config_names_the_state_dict_behind_the_path(tmp_path, arrays):
    half = {key: value / 2 for key, value in arrays.items()}
    path = tmp_path / "w.pth"
    path.write_bytes(saved({"state_dict": half, "state_dict_ema": arrays}))
    loaded = pretrained.load("resnet18", f"file:{path}#state_dict_ema")
    assert loaded and (loaded.origin["file"], loaded.origin["entry"]) == ("w.pth", "state_dict_ema")
    jax.tree.map(np.testing.assert_array_equal, loaded[:2], body_from_torch("resnet18", arrays))
    with pytest.raises(UserError, match="it holds several state dicts"):
        pretrained.load("resnet18", f"file:{path}")


def test_a_file_with_the_sign_in_its_name_is_the_whole_path(tmp_path):
    odd = tmp_path / "run #1" / "w.pth"
    odd.parent.mkdir()
    assert named(f"file:{odd}") == (odd, "")
    odd.touch()
    assert named(f"file:{odd}") == (odd, "")
    assert named(f"file:{odd}#ema") == (odd, "ema")
    assert named(f"file:{odd}#a/ema") == (odd, "a/ema")
    (odd.parent / "w.pth#ema").touch()
    assert named(f"file:{odd}#ema") == (odd.parent / "w.pth#ema", "")


def test_safetensors_hold_nothing_to_choose_from(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(UserError, match="one set of weights"):
        read_weights(path, "ema")


def test_a_damaged_file_is_told_as_one_whatever_is_chosen_from_it(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"no weights at all")
    told = []
    for entry in ("", "ema"):
        with pytest.raises(UserError) as refusal:
            read_weights(path, entry)
        told.append(str(refusal.value))
    assert told[0] == told[1] and "one set" not in told[0]


def test_an_index_of_shards_says_what_to_give(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}))
    with pytest.raises(UserError, match=f"file:{tmp_path}/one.safetensors"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "one", "b": "two"}}))
    with pytest.raises(UserError, match="its shards: one, two\nSave the model in one file"):
        read_weights(index)
    index.write_text("[[")
    with pytest.raises(UserError, match="an index of shards"):
        read_weights(index)
    with pytest.raises(UserError, match="one of 3 shards"):
        read_weights(tmp_path / "model-00001-of-00003.safetensors")
