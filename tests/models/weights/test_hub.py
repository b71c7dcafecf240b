"""Weights by name: a real client against a hub of our own, on this machine."""

import json
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tiny_config
from hub import COMMIT, CONFIG, serve
from random_weights import normal
from safetensors.numpy import save

from jaxft.config import load, resolve
from jaxft.config.resolve import resolved
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.models.body import TORCHVISION, Preprocessing
from jaxft.models.weights import hub, preprocessing, pretrained, torch_names

EXPECTED = Preprocessing((123.675, 116.28, 103.53), (127.5, 127.5, 127.5), 192, 0.95, "bicubic")


@pytest.fixture(scope="module", name="arrays")
def _arrays():
    return {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in torch_names.entries("resnet18")
    }


@pytest.fixture(name="server")
def _server(arrays, tmp_path, monkeypatch):
    with serve(save(arrays), tmp_path / "cache", monkeypatch) as server:
        yield server


def hub_cache() -> Path:
    """The folder of the hub's cache."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE)


def blob_of(name: str) -> Path:
    """The file of that name in the hub's cache, behind its links."""
    (blob,) = {path.resolve() for path in hub_cache().rglob(name)}
    return blob


def damage(blob: Path) -> None:
    """Flip the last bit of weights; make another mean of a config, which is still timm's."""
    content = blob.read_bytes()
    if b"0.485" in content:
        blob.write_bytes(content.replace(b"0.485", b"0.484"))
    else:
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def loaded_from(source: str) -> pretrained.Loaded:
    """ResNet-18's weights of a source that has some."""
    loaded = pretrained.load("resnet18", source)
    assert loaded
    return loaded


def test_weights_by_name_are_fetched_once_and_what_they_are_is_told(server, arrays):
    assert not pretrained.is_here("resnet18", "imagenet")
    loaded = loaded_from("tv_in1k")
    assert pretrained.is_here("resnet18", "imagenet")
    np.testing.assert_array_equal(
        loaded.params["early"]["conv1"]["kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0)
    )
    expected = {
        "source": "tv_in1k",
        "repository": "timm/resnet18.tv_in1k",
        "revision": COMMIT,
        "sha256": server.stated,
        "license": "bsd-3-clause",
        "preprocessing": EXPECTED._asdict(),
    }
    assert {key: loaded.origin[key] for key in expected} == expected
    assert loaded.preprocessing == EXPECTED
    words = pretrained.in_words(loaded.origin)
    assert "timm/resnet18.tv_in1k (bsd-3-clause, sha256 " in words
    assert "192 px, bicubic, the middle 0.95 of the shorter side" in words
    pretrained.load("resnet18", "imagenet")
    assert server.downloads == 1


def test_without_a_connection_what_is_cached_works(server):
    pretrained.load("resnet18", "tv_in1k")
    server.shutdown()
    server.server_close()
    assert loaded_from("tv_in1k").origin["sha256"] == server.stated


@pytest.mark.slow
def test_without_a_connection_and_a_cache_the_error_says_how_to_bring_the_file(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="cannot be fetched") as refusal:
        pretrained.load("resnet18", "tv_in1k")
    assert "file:PATH" in refusal.value.hint and "HF_HOME" in refusal.value.hint
    assert "timm/resnet18.tv_in1k/resolve/main/model.safetensors" in refusal.value.hint


def test_a_hub_that_does_not_answer_is_asked_twice_and_without_a_word(server, monkeypatch, capfd):
    server.shutdown()
    server.server_close()
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(UserError, match="cannot be fetched from the hub"):
        hub.fetch("resnet18", "tv_in1k")
    assert waits == [hub.PAUSE]
    assert capfd.readouterr() == ("", "")


def test_a_repository_that_is_not_there_says_so(server):
    with pytest.raises(UserError, match=r"timm/resnet18.a1_in1k/.* cannot be") as refusal:
        pretrained.load("resnet18", "a1_in1k")
    assert any("404" in line for line in refusal.value.offenders)


def test_a_wrong_digest_is_told_and_the_file_fetched_again_once(server):
    right = server.stated
    server.stated = "0" * 64
    with pytest.raises(UserError, match=r"the digest of model\.safetensors is wrong") as refusal:
        pretrained.load("resnet18", "tv_in1k")
    assert f"the hub states SHA-256 {'0' * 64}" in refusal.value.offenders
    assert right in refusal.value.offenders[1] and server.downloads == 2


def test_a_file_damaged_in_the_cache_is_fetched_again(server):
    pretrained.load("resnet18", "tv_in1k")
    damage(blob_of(hub.FILE))
    assert loaded_from("tv_in1k").origin["sha256"] == server.stated
    assert server.downloads == 2


def test_a_damaged_config_is_fetched_again_and_never_believed(server, monkeypatch):
    hub.facts("resnet18", "tv_in1k")
    blob = blob_of(preprocessing.TIMM_FILE)
    content = blob.read_bytes()
    damage(blob)
    found, _ = hub.facts("resnet18", "tv_in1k")
    assert found == EXPECTED and blob.read_bytes() == content
    damage(blob)
    (damaged,) = hub_cache().rglob(preprocessing.TIMM_FILE)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: damaged)
    with pytest.raises(UserError, match=r"the digest of config\.json is wrong") as refusal:
        hub.facts("resnet18", "tv_in1k")
    assert refusal.value.offenders[0] == f"the hub states git's SHA-1 {blob.name}"


def test_what_repositories_share_is_held_against_the_digest_of_the_first_link(server):
    pretrained.load("resnet18", "tv_in1k")
    blob, shared = blob_of(hub.FILE), hub_cache() / "blobs" / "ab" / ("7" * 64)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    assert hub.fetch("resnet18", "tv_in1k")[1]["sha256"] == server.stated
    assert server.downloads == 1
    damage(shared)
    assert loaded_from("tv_in1k").origin["sha256"] == server.stated
    assert server.downloads == 2


def test_a_damaged_file_without_a_connection_is_told_as_such(server, monkeypatch):
    hub.facts("resnet18", "tv_in1k")
    damage(blob_of(preprocessing.TIMM_FILE))
    fetched = huggingface_hub.hf_hub_download

    def alone(*names, force_download):
        if force_download:
            raise ConnectionError("no route to host")
        return fetched(*names)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", alone)
    with pytest.raises(UserError, match=r"config\.json cannot be .* is damaged in its cache"):
        hub.facts("resnet18", "tv_in1k")


def test_a_cache_that_was_copied_without_its_links_is_taken(server):
    pretrained.load("resnet18", "tv_in1k")
    for path in [*hub_cache().rglob("snapshots/*/*")]:
        path.resolve().rename(path)
    server.shutdown()
    server.server_close()
    loaded = loaded_from("tv_in1k")
    assert loaded.origin["sha256"] == server.stated and loaded.preprocessing == EXPECTED


@pytest.mark.slow
def test_a_connection_that_breaks_leaves_nothing_that_passes_for_the_file(server):
    server.breaks = True
    with pytest.raises(UserError, match="cannot be fetched"):
        pretrained.load("resnet18", "tv_in1k")
    server.breaks = False
    assert loaded_from("tv_in1k").origin["sha256"] == server.stated


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="not installed") as refusal:
        pretrained.load("resnet18", "tv_in1k")
    assert "pip install 'jaxft[hub]'" in refusal.value.hint


def test_a_config_knows_the_names_of_its_model():
    config = base.get_config()
    config.phases = tiny_config.get_config("nowhere").phases
    config.model.name, config.model.weights = "resnext101_64x4d", "c1_in1k"
    assert load.read(config).model.weights == "c1_in1k"
    config.model.weights = "tv2_in1k"
    with pytest.raises(UserError, match="tv_in1k, c1_in1k, gluon_in1k, none"):
        load.read(config)


# --- what the weights expect of images --------------------------------------------------------


def test_where_the_user_says_nothing_a_run_does_as_its_weights_expect(server):
    config = base.get_config()
    config.model.name, config.model.weights, config.data.image_size = "resnet18", "tv_in1k", 0
    data = resolved(config)["data"]
    assert (data["image_size"], data["interpolation"]) == (192, "bicubic")
    config.data.image_size = 96
    data = resolved(config)["data"]
    assert (data["image_size"], data["interpolation"]) == (96, "bicubic")
    config.data.interpolation = "bilinear"
    server.shutdown()
    server.server_close()
    data = resolved(config)["data"]
    assert (data["image_size"], data["interpolation"]) == (96, "bilinear"), "the user's word counts"


def test_without_a_test_size_the_size_of_training_counts(server):
    plain = {k: v for k, v in CONFIG["pretrained_cfg"].items() if not k.startswith("test")}
    server.config = json.dumps({"pretrained_cfg": plain}).encode()
    found = pretrained.preprocessing("resnet18", "tv_in1k")
    assert (found.image_size, found.crop_fraction) == (160, 0.875)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"interpolation": "lanczos"}, "ValueError: interpolation is 'lanczos'"),
        ({"test_input_size": [3, 192, 256]}, "ValueError: images of 192 x 256 pixels are"),
        ({"mean": [0.5]}, "ValueError: not enough values"),
        ({"std": None}, "TypeError"),
    ],
)
def test_words_of_the_hub_that_are_not_understood_are_told(server, change, told):
    server.config = json.dumps({"pretrained_cfg": CONFIG["pretrained_cfg"] | change}).encode()
    with pytest.raises(UserError, match="does not say what images the weights expect") as refusal:
        pretrained.preprocessing("resnet18", "tv_in1k")
    assert refusal.value.offenders[0].startswith(told)


def test_a_config_that_is_not_timms_is_refused_of_the_hub_and_passed_over_beside_a_file(
    server, tmp_path
):
    server.config = b'{"model_type": "resnet"}'
    with pytest.raises(UserError, match=r"config.json is not timm's"):
        pretrained.preprocessing("resnet18", "tv_in1k")
    (tmp_path / "config.json").write_bytes(server.config)
    assert pretrained.preprocessing("resnet18", f"file:{tmp_path}/model.safetensors") == TORCHVISION
    (tmp_path / "config.json").write_bytes(b"{")
    with pytest.raises(UserError, match=r"config.json cannot be read"):
        pretrained.preprocessing("resnet18", f"file:{tmp_path}/model.safetensors")


def test_a_file_brings_the_preprocessing_that_is_written_beside_it(tmp_path, arrays):
    (tmp_path / "model.safetensors").write_bytes(save(arrays))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    loaded = loaded_from(f"file:{tmp_path}/model.safetensors")
    assert loaded.preprocessing == EXPECTED
    assert loaded.origin["preprocessing"] == EXPECTED._asdict()
    assert "weights model.safetensors (sha256 " in pretrained.in_words(loaded.origin)


def test_torchvisions_own_files_are_known_by_name():
    name = "resnext101_64x4d"
    newest = pretrained.preprocessing(name, f"file:~/{name}-173b62eb.pth")
    assert newest == TORCHVISION._replace(crop_fraction=224 / 232)
    assert pretrained.preprocessing("resnet18", "file:~/resnet18-f37072fd.pth") == TORCHVISION


def test_the_quickstarts_weights_have_their_bodys_own_preprocessing():
    assert pretrained.preprocessing("efficientnet_lite0", "imagenet").mean == (127, 127, 127)


def test_weights_of_a_run_expect_what_that_run_did(tmp_path):
    (tmp_path / preprocessing.RUN_FILE).write_text(json.dumps(EXPECTED._asdict()))
    config = base.get_config()
    config.init_from, config.data.image_size = str(tmp_path), 0
    assert resolve.expected(load.read(config)) == EXPECTED
    data = resolved(config)["data"]
    assert (data["image_size"], data["interpolation"]) == (192, "bicubic")
    (tmp_path / preprocessing.RUN_FILE).write_text('{"mean": [1, 2, 3]}')
    with pytest.raises(UserError, match=r"preprocessing.json cannot be read"):
        resolved(config)
    (tmp_path / preprocessing.RUN_FILE).unlink()
    with pytest.raises(UserError, match=r"holds no run: there is no preprocessing.json in it"):
        resolved(config)
