"""The timm folder: its names, its order of the pooled features, its config.json."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from random_weights import weight
from safetensors.numpy import load_file

from jaxft.config import load
from jaxft.configs import base
from jaxft.export import timm
from jaxft.export.subject import Subject
from jaxft.export.timm_config import config
from jaxft.export.timm_head import from_head_file, to_head_file, turned
from jaxft.models.registry import create
from jaxft.models.weights import pretrained, torch_names
from jaxft.models.weights.torch_names import body_from_torch, timm_name

NAMES = json.loads((Path(__file__).parents[1] / "golden" / "names.json").read_text())


def subject(name="resnet18", origin=None, **model):
    """A run's model on images of 48 px, its weights random; nothing is compiled for it."""
    plain = base.get_config()
    plain.data.image_size, plain.data.interpolation = 48, "bicubic"
    plain.model.update({"name": name, "weights": "none", "dtype": "float32", **model})
    settings = load.read(plain)
    given = {key: getattr(settings.model, key) for key in ("hidden", "dropout", "pooling")}
    net = create(name, 3, **given)
    classes = ("blue", "green", "red")
    return Subject(settings, classes, net, tiny.weights(net), origin or {})


def test_names_and_shapes_of_efficientnet_are_those_of_timms_state_dict():
    entries = torch_names.entries("efficientnet_lite0")
    lines = sorted(f"{timm_name('efficientnet_lite0', e.name)} {e.shape}" for e in entries)
    found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert found == NAMES["tf_efficientnet_lite0"]


def test_timms_names_are_read_like_the_originals():
    entries = torch_names.entries("efficientnet_lite0")
    arrays = {entry.name: weight(entry.name, entry.shape) for entry in entries}
    renamed = {timm_name("efficientnet_lite0", name): array for name, array in arrays.items()}
    assert not arrays.keys() & renamed.keys()
    for one, other in zip(
        body_from_torch("efficientnet_lite0", arrays, with_head=True),
        body_from_torch("efficientnet_lite0", renamed, with_head=True),
        strict=True,
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_a_turned_head_answers_alike_to_averages_before_maxima(hidden):
    net = tiny.model(hidden=hidden, dropout=(0.0,) * (len(hidden) + 1))
    params, stats = jax.tree.map(jnp.asarray, tiny.weights(net))
    maxima, averages = np.random.default_rng(1).random((2, 5, net.body.channels), np.float32)
    as_ours, as_timms = (
        jnp.asarray(np.concatenate(pair, 1)) for pair in ((maxima, averages), (averages, maxima))
    )
    one, other = (
        {"head": jax.tree.map(jnp.asarray, turned(tree["head"], "max_avg"))}
        for tree in (params, stats)
    )
    ours, _ = net.classify(params, stats, as_ours)
    np.testing.assert_allclose(net.classify(one, other, as_timms)[0], ours, rtol=1e-5)
    assert np.abs(net.classify(one, other, as_ours)[0] - ours).max() > 1e-2, "the order matters"


def test_heads_survive_the_file():
    params, stats = (tree["head"] for tree in tiny.weights(tiny.model(hidden=(8, 6))))
    found = from_head_file(to_head_file(params, stats))
    jax.tree.map(np.testing.assert_array_equal, found, (params, stats))


def test_a_plain_head_on_averages_makes_torchvisions_own_state_dict(tmp_path):
    made = subject(hidden=(), pooling="avg")
    timm.write(made, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    arrays = load_file(tmp_path / "model.safetensors")
    counters = [name for name in arrays if name.endswith("num_batches_tracked")]
    assert len(counters) == sum(name.endswith("running_var") for name in arrays) == 20
    lines = sorted(f"{k} {a.shape}" for k, a in arrays.items() if k not in counters)
    own = "\n".join(lines).replace("fc.weight (3, 512)", "fc.weight (1000, 512)")
    own = own.replace("fc.bias (3,)", "fc.bias (1000,)")
    assert hashlib.sha256(own.encode()).hexdigest() == NAMES["resnet18"]
    kernel = made.weights.params["head"]["linear0"]["kernel"]
    np.testing.assert_array_equal(arrays["fc.weight"], kernel.T)


def test_a_plain_head_on_both_poolings_has_its_columns_exchanged(tmp_path):
    made = subject(hidden=(), pooling="max_avg")
    timm.write(made, tmp_path)
    written = load_file(tmp_path / "model.safetensors")["fc.weight"]
    kernel = made.weights.params["head"]["linear0"]["kernel"]
    np.testing.assert_array_equal(written, np.concatenate([kernel[512:], kernel[:512]]).T)
    back = timm.read_back(made, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, back, made.weights)


def test_another_head_lies_beside_the_body(tmp_path):
    made = subject(hidden=(8,), dropout=(0.1, 0.1))
    timm.write(made, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("config.json", "model.safetensors", "head.safetensors", "head.py")
    }
    assert not any(name.startswith("fc") for name in load_file(tmp_path / "model.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, timm.read_back(made, tmp_path), made.weights)


def test_config_json_says_what_timm_builds_the_network_from():
    told = config(subject("efficientnet_lite0", hidden=(), pooling="max_avg"))
    assert told["architecture"] == "tf_efficientnet_lite0"
    assert (told["num_classes"], told["num_features"]) == (3, 1280)
    assert told["global_pool"] == told["model_args"]["global_pool"] == "catavgmax"
    assert told["label_names"] == ["blue", "green", "red"]
    facts = told["pretrained_cfg"]
    assert (facts["input_size"], facts["interpolation"]) == ([3, 48, 48], "bilinear")
    assert (facts["crop_pct"], facts["crop_mode"]) == (1.0, "center")
    assert (facts["first_conv"], facts["classifier"]) == ("conv_stem", "classifier")
    np.testing.assert_allclose(facts["mean"], [127 / 255] * 3)
    np.testing.assert_allclose(facts["std"], [128 / 255] * 3)
    assert "license" not in facts


@pytest.mark.parametrize(
    ("fit", "mode"), [("crop", "center"), ("squash", "squash"), ("pad", "border")]
)
def test_the_fit_of_the_images_has_a_name_in_timm(fit, mode, monkeypatch):
    monkeypatch.setattr(Subject, "fit", fit)
    assert config(subject())["pretrained_cfg"]["crop_mode"] == mode


def test_config_json_of_a_body_alone_and_its_licence():
    told = config(subject(origin={"license": "bsd-3-clause"}, hidden=(8,), dropout=(0.1, 0.1)))
    assert told["num_classes"] == told["pretrained_cfg"]["num_classes"] == 0
    assert told["pretrained_cfg"]["license"] == "bsd-3-clause"
    assert told["pretrained_cfg"]["classifier"] == "fc"


def test_a_new_run_may_begin_with_the_folder(tmp_path):
    made = subject("efficientnet_lite0", hidden=(), pooling="max_avg")
    timm.write(made, tmp_path)
    loaded = pretrained.load("efficientnet_lite0", f"file:{tmp_path / 'model.safetensors'}")
    assert loaded is not None
    bodies = ({group: tree[group] for group in ("early", "late")} for tree in made.weights)
    jax.tree.map(np.testing.assert_array_equal, (loaded.params, loaded.stats), tuple(bodies))
    assert loaded.preprocessing.image_size == 48
    np.testing.assert_allclose(loaded.preprocessing.mean, made.model.preprocessing.mean)
