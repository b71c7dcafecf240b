"""Weights by name: a real client against a hub of our own, on this machine."""

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tiny_config
from random_weights import normal
from safetensors.numpy import save

from jaxft import recipe
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.models import hub, torch_names, weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = "/timm/resnet18.tv_in1k/resolve/main/model.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves one file as the Hugging Face hub does, and can do so badly."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.stated = hashlib.sha256(content).hexdigest()
        self.breaks = False
        self.downloads = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self):
        self._answer(with_content=False)

    def do_GET(self):
        self._answer(with_content=True)

    def _answer(self, with_content):
        if self.path != PATH:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{self.server.stated}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(self.server.content) - begin))
        self.end_headers()
        if with_content:
            self.server.downloads += 1
            end = len(self.server.content) // 2 if self.server.breaks else None
            self.wfile.write(self.server.content[begin:end])
            self.close_connection = self.server.breaks

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module", name="arrays")
def _arrays():
    return {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in torch_names.entries("resnet18")
    }


@pytest.fixture(name="server")
def _server(arrays, tmp_path, monkeypatch):
    """A hub, and huggingface_hub with an empty cache that knows no other."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    with Hub(save(arrays)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
        huggingface_hub.close_session()
        yield server
        server.shutdown()


def test_weights_by_name_are_fetched_once_and_what_they_are_is_told(server, arrays):
    loaded = weights.load("resnet18", "tv_in1k")
    np.testing.assert_array_equal(
        loaded.params["early"]["conv1"]["kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0)
    )
    expected = {
        "source": "tv_in1k",
        "repository": "timm/resnet18.tv_in1k",
        "revision": COMMIT,
        "sha256": server.stated,
        "size": 224,
        "crop_fraction": 0.875,
        "interpolation": "bilinear",
        "license": "bsd-3-clause",
    }
    assert {key: loaded.origin[key] for key in expected} == expected
    assert loaded.origin["preprocessing"]["mean"] == (123.675, 116.28, 103.53)
    assert "timm/resnet18.tv_in1k (bsd-3-clause" in weights.in_words(loaded.origin)
    weights.load("resnet18", "imagenet")
    assert server.downloads == 1


def test_without_a_connection_what_is_cached_works(server):
    weights.load("resnet18", "tv_in1k")
    server.shutdown()
    server.server_close()
    assert weights.load("resnet18", "tv_in1k").origin["sha256"] == server.stated


@pytest.mark.slow
def test_without_a_connection_and_a_cache_the_error_says_how_to_bring_the_file(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="cannot be fetched") as refusal:
        weights.load("resnet18", "tv_in1k")
    assert "file:PATH" in refusal.value.hint and "HF_HOME" in refusal.value.hint
    assert "timm/resnet18.tv_in1k/resolve/main/model.safetensors" in refusal.value.hint


def test_a_repository_that_is_not_there_says_so(server):
    with pytest.raises(UserError, match=r"timm/resnet18.a1_in1k cannot be fetched") as refusal:
        weights.load("resnet18", "a1_in1k")
    assert any("404" in line for line in refusal.value.offenders)


def test_a_wrong_digest_is_told_and_the_file_fetched_again_once(server):
    right = server.stated
    server.stated = "0" * 64
    with pytest.raises(UserError, match="digest is wrong") as refusal:
        weights.load("resnet18", "tv_in1k")
    assert f"the hub states SHA-256 {'0' * 64}" in refusal.value.offenders
    assert right in refusal.value.offenders[1] and server.downloads == 2


def test_a_file_damaged_in_the_cache_is_fetched_again(server):
    weights.load("resnet18", "tv_in1k")
    path, _ = hub.fetch("resnet18", "tv_in1k")
    blob = Path(path).resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    assert weights.load("resnet18", "tv_in1k").origin["sha256"] == server.stated
    assert server.downloads == 2


@pytest.mark.slow
def test_a_connection_that_breaks_leaves_nothing_that_passes_for_the_file(server):
    server.breaks = True
    with pytest.raises(UserError, match="cannot be fetched"):
        weights.load("resnet18", "tv_in1k")
    server.breaks = False
    assert weights.load("resnet18", "tv_in1k").origin["sha256"] == server.stated


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="not installed") as refusal:
        weights.load("resnet18", "tv_in1k")
    assert "pip install 'jaxft[hub]'" in refusal.value.hint


def test_a_config_knows_the_names_of_its_model():
    config = base.get_config()
    config.phases = tiny_config.get_config("nowhere").phases
    config.model.name, config.model.weights = "resnext101_64x4d", "c1_in1k"
    assert recipe.read(config).model.weights == "c1_in1k"
    config.model.weights = "tv2_in1k"
    with pytest.raises(UserError, match="tv_in1k, c1_in1k, gluon_in1k, none"):
        recipe.read(config)


def test_what_the_weights_expect_of_pixels_travels_with_them():
    assert weights.preprocessing("resnet34", "ra4_e3600_r224_in1k").mean == (127.5, 127.5, 127.5)
    assert weights.preprocessing("resnet34", "tv_in1k").std == (58.395, 57.12, 57.375)
    assert weights.preprocessing("resnet34", "file:x.pth") is None
    for name in hub.MODELS:
        for tag in hub.tags(name):
            assert hub.pretraining(name, tag).size in (224, 288)
