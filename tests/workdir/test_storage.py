"""Errors of a disk are told alike, whichever library met them, and name a place."""

import errno
import os

import pytest

from jaxft.cli import main
from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.workdir.rows import append_row
from jaxft.workdir.storage import told_as_os_error

TENSORSTORE = "UNKNOWN: Error calling fsync: Input/output error [os_error_code='5']"


@pytest.mark.parametrize(
    ("raised", "number", "named"),
    [
        (ValueError(TENSORSTORE), errno.EIO, "checkpoints"),
        (ValueError("RESOURCE_EXHAUSTED: Failed to write"), errno.ENOSPC, "checkpoints"),
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC, "checkpoints"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), errno.EACCES, "a/b"),
    ],
)
def test_what_a_disk_did_is_an_os_error_with_a_place(raised, number, named, tmp_path):
    place = tmp_path / "checkpoints"
    with pytest.raises(OSError) as caught, told_as_os_error(place):
        raise raised
    assert caught.value.errno == number
    assert str(caught.value.filename).endswith(named)
    assert caught.value.strerror == os.strerror(number)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (
            lambda client: client.ServerDisconnectedError(),
            "ServerDisconnectedError: Server disconnected",
        ),
        (
            lambda client: client.ClientConnectionError("Connector is closed."),
            "ClientConnectionError: Connector is closed.",
        ),
        (
            lambda client: client.ClientOSError(-2, "Name or service not known"),
            "ClientOSError: [Errno -2] Name or service not known",
        ),
    ],
)
def test_a_bucket_that_hangs_up_is_an_os_error_in_its_words(raised, words):
    aiohttp = pytest.importorskip("aiohttp")
    with pytest.raises(OSError) as caught, told_as_os_error(paths.of("gs://bucket/run")):
        raise raised(aiohttp)
    assert (caught.value.errno, caught.value.filename) == (errno.ECONNRESET, "gs://bucket/run")
    assert caught.value.strerror == f"no connection ({words})"


@pytest.mark.parametrize("raised", [ValueError("a bug"), UserError("taken over"), KeyError("x")])
def test_other_errors_stay_what_they_are(raised, tmp_path):
    with pytest.raises(type(raised)) as caught, told_as_os_error(tmp_path):
        raise raised
    assert caught.value is raised


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_names_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        paths.write(tmp_path / "summary.json", lambda file: file.write(b"{}"))
    assert caught.value.filename == str(tmp_path / "summary.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError) as caught:
        append_row(tmp_path / "metrics.jsonl", {})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    ("number", "words", "then"),
    [
        (errno.ENOSPC, "No space left on device", ["Make room, then give the same command;"]),
        (errno.ECONNRESET, "no connection", ["Give the same command again;"]),
        (errno.EIO, "Input/output error", []),
    ],
)
def test_what_a_disk_or_a_bucket_did_is_told_with_what_helps(
    number, words, then, monkeypatch, capsys
):
    def run(_):
        raise OSError(number, words, "w/checkpoints")

    monkeypatch.setattr(main, "_run", run)
    assert main.main(["train"]) == 2
    told = capsys.readouterr().err.splitlines()
    goes_on = "training goes on from its last checkpoint."
    assert told == [f"jaxft: {words}: w/checkpoints", *(f"{line} {goes_on}" for line in then)]
