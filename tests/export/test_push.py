"""`jaxft push`: a real client against a hub of our own, on this machine."""

import sys

import pytest
from hub import COMMIT, TOKEN, serve

from jaxft.cli import main

# huggingface_hub's own call of httpx, where it uploads by LFS.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
HEAD = '---\ntags: ["jaxft"]\n---\n\n# a model\n'


@pytest.fixture(name="hub")
def _hub(tmp_path, monkeypatch):
    with serve(b"", tmp_path / "cache", monkeypatch) as server:
        yield server


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """An exported folder, as far as an upload is concerned."""
    folder = tmp_path / "exported"
    (folder / "deep").mkdir(parents=True)
    (folder / "README.md").write_text(HEAD)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4000)
    (folder / "deep" / "model.json").write_text("[]")
    return folder


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_folder_is_uploaded_whole_and_its_address_printed(hub, folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main.main(["push", str(folder), "somebody/flowers", "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.address}/somebody/flowers/commit/{COMMIT}\n"
    assert hub.repositories == {"somebody/flowers": {"private": True, "main": contents(folder)}}
    assert len(hub.large) == 1, "the weights go by LFS, as one object"


def test_a_repository_that_is_there_gets_a_branch_of_its_own(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.repositories["me/flowers"] = {"private": False, "main": {"theirs": b"x"}}
    assert main.main(["push", str(folder), "flowers", "--revision=v2"]) == 0
    there = hub.repositories["me/flowers"]
    assert there["main"] == {"theirs": b"x"} and not there["private"]
    assert there["v2"] == contents(folder)


@pytest.mark.parametrize(
    ("token", "told"),
    [("", "There is no token"), ("hf_wrong", "cannot be pushed to somebody/flowers")],
)
def test_without_a_right_token_one_error_says_what_to_do(
    token, told, hub, folder, monkeypatch, capsys
):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main.main(["push", str(folder), "somebody/flowers"]) == 2
    error = capsys.readouterr().err
    assert told in error and "hf auth login" in error and error.count("jaxft: ") == 1
    assert hub.repositories == {}


def test_without_a_connection_one_error_says_so(hub, folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.shutdown()
    hub.server_close()
    assert main.main(["push", str(folder), "somebody/flowers"]) == 2
    error = capsys.readouterr().err
    assert "cannot be pushed to somebody/flowers" in error and "refused" in error


def test_a_damaged_head_of_the_card_is_refused_by_the_hub(hub, folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (folder / "README.md").write_text("---\ntags: [\n---\n")
    assert main.main(["push", str(folder), "somebody/flowers"]) == 2
    assert "Invalid metadata in README.md" in capsys.readouterr().err
    assert hub.repositories["somebody/flowers"]["main"] == {}


def test_a_folder_of_another_kind_and_a_missing_package_are_told_first(
    folder, tmp_path, monkeypatch, capsys
):
    assert main.main(["push", str(tmp_path / "gone"), "somebody/flowers"]) == 2
    assert "holds no README.md" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main.main(["push", str(folder), "somebody/flowers"]) == 2
    assert "pip install 'jaxft[hub]'" in capsys.readouterr().err
