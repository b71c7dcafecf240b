"""A hub on this machine: serves a model's files as the Hugging Face hub does, and takes uploads."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FOLDER = "/timm/resnet18.tv_in1k/resolve/main/"
TOKEN = "hf_standin"
CONFIG: dict[str, Any] = {
    "architecture": "resnet18",
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "test_input_size": [3, 192, 192],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "test_crop_pct": 0.95,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.5, 0.5, 0.5],
        "license": "bsd-3-clause",
    },
}
LARGE = (".safetensors", ".jax_exported")  # files that the hub takes by LFS


def git_digest(content: bytes) -> str:
    """Return what git names this content by, as the hub states it of files outside of LFS."""
    return hashlib.sha1(f"blob {len(content)}".encode() + bytes(1) + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves weights and config.json of one model, and can do so badly; keeps what is uploaded.

    `repositories` maps OWNER/NAME to {"private": bool, branch: {path: content}}.
    """

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.stated = hashlib.sha256(content).hexdigest()
        self.config = json.dumps(CONFIG).encode()
        self.breaks = False
        self.downloads = 0
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, Any]] = {}
        self.large: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self):
        self._answer(with_content=False)

    def do_GET(self):
        self._answer(with_content=True)

    def _answer(self, with_content):
        server = self.server
        files = {
            f"{FOLDER}model.safetensors": (server.content, server.stated),
            f"{FOLDER}config.json": (server.config, git_digest(server.config)),
        }
        if self.path not in files:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, tag = files[self.path]
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if with_content:
            weights = content is server.content
            server.downloads += weights
            end = len(content) // 2 if weights and server.breaks else None
            self.wfile.write(content[begin:end])
            self.close_connection = end is not None

    def log_message(self, *_):
        pass

    # Uploads.

    def do_PUT(self):
        content = self._body()
        oid = self.path.rpartition("/")[2]
        same = hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self._reply(200 if same else 400, {})

    def do_POST(self):
        content = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._reply(401, {"error": "Invalid credentials"})
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self._validated(json.loads(content))
        if path == "/api/repos/create":
            return self._created(json.loads(content))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._placed(json.loads(content))
        _, _, _, owner, name, what, branch = path.split("/")
        repository = self.server.repositories.get(f"{owner}/{name}")
        if repository is None:
            return self._reply(404, {"error": "Repository not found"})
        if what == "branch":
            repository.setdefault(branch, {})
            return self._reply(200, {})
        if branch not in repository:
            return self._reply(404, {"error": f"Invalid rev id: {branch}"})
        if what == "preupload":
            return self._chosen(json.loads(content))
        lines = [json.loads(line) for line in content.decode().splitlines()]
        return self._committed(f"{owner}/{name}", repository[branch], lines)

    def _validated(self, asked):
        _, head, _ = asked["content"].split("---\n", 2)
        try:
            wrong = [] if isinstance(yaml.safe_load(head), dict) else ["no mapping"]
        except yaml.YAMLError as error:
            wrong = [str(error)]
        found = {"errors": [{"message": text} for text in wrong], "warnings": []}
        self._reply(400 if wrong else 200, found)

    def _created(self, asked):
        repository = f"{asked.get('organization') or 'me'}/{asked['name']}"
        private = asked.get("private") or asked.get("visibility") == "private"
        there = repository in self.server.repositories
        if not there:
            self.server.repositories[repository] = {"private": private, "main": {}}
        self._reply(409 if there else 200, {"url": f"{self.server.address}/{repository}"})

    def _placed(self, asked):
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._reply(200, {"transfer": "basic", "objects": objects})

    def _chosen(self, asked):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in asked["files"]
        ]
        self._reply(200, {"files": files})

    def _committed(self, repository, files, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        address = f"{self.server.address}/{repository}/commit/{COMMIT}"
        self._reply(200, {"commitUrl": address, "commitOid": COMMIT})

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status, data):
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve(content: bytes, cache: Path, monkeypatch: Any) -> Iterator[Hub]:
    """A hub, and huggingface_hub with an empty cache and no token that knows no other."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    with Hub(content) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # uploads go by LFS
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        huggingface_hub.close_session()
        yield server
        server.shutdown()
