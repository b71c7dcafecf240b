"""Verbs that need neither weights nor the hub use neither, and try no connection."""

import socket
import time

import jax
import pytest
import tiny_config

from jaxft.cli import main
from jaxft.config import load
from jaxft.config.resolve import expected, expected_size
from jaxft.costs import bench, planning
from jaxft.costs.costs import Costs, Memory
from jaxft.costs.program import Program
from jaxft.errors import UserError
from jaxft.models.weights import hub

NOTHING = Costs(1.0, 1.0, Memory(1, 1, 1, 1, 1), {}, None, None)


@pytest.fixture
def connections(monkeypatch):
    """The connections that were tried; each fails, and a closed port is where the hub would be."""
    tried = []

    def refuse(*arguments, **_):
        tried.append(arguments)
        raise ConnectionRefusedError

    for owner, name in (
        *((socket.socket, name) for name in ("connect", "connect_ex", "sendto")),
        *((socket, name) for name in ("create_connection", "getaddrinfo")),
    ):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tried


@pytest.fixture
def on_the_hub(tiny, drawn, monkeypatch):
    """Words of a config whose weights only the hub could have; its body is a tiny one."""
    monkeypatch.setitem(hub.MODELS, "tiny", "tv")
    kept = jax.config.values[
        "jax_enable_compilation_cache"
    ]  # which `bench` turns off for its process
    yield [f"--config={tiny_config.__file__}:{drawn}", "--config.model.weights=imagenet"]
    jax.config.update("jax_enable_compilation_cache", kept)


def compiled(jobs, *_):
    """Programs as compiling every job would give them, without it."""
    return {key: Program(job.name, 8, NOTHING, 0.0) for key, job in jobs.items()}


def traced(job):
    """Every program of a bench, traced and not run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "measure", lambda _, program: program.call(1).trace())
        list(MAKE(job))
    return iter(())


MAKE = bench.make


@pytest.fixture
def nothing_compiled(monkeypatch):
    """Do everything except the compilation."""
    monkeypatch.setattr(planning, "compile_all", compiled)
    monkeypatch.setattr(bench, "make", traced)


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize("size", [32, 0])
@pytest.mark.parametrize("verb", ["plan", pytest.param("bench", marks=pytest.mark.slow)])
def test_on_made_up_input_none_is_tried(verb, size, connections, on_the_hub, capsys):
    words = [*on_the_hub, f"--config.data.image_size={size}"]
    assert main.main([verb, *words]) == 0
    assert connections == []
    assert ("assuming 224 px" in capsys.readouterr().out) == (size == 0)


def test_the_watch_sees_a_connection(connections, on_the_hub, monkeypatch, capsys):
    """On its own input a bench needs the weights, and says so."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # before it is tried again
    assert main.main(["bench", *on_the_hub, "--input=real"]) == 2
    assert connections
    assert "cannot be fetched from the hub" in capsys.readouterr().err


def test_weights_on_this_machine_are_looked_at(tiny, drawn, finished, tmp_path):
    """If they are missing, which plan tolerates, the usual size is assumed."""
    config = tiny_config.get_config(drawn)
    config.data.image_size = 0
    assert expected_size(load.read(config)) == (224, True)  # random ones
    config.init_from = str(finished)
    assert expected_size(load.read(config)) == (32, True)
    config.init_from = str(tmp_path)
    with pytest.raises(UserError):
        expected(load.read(config))
    assert expected_size(load.read(config)) == (224, False)
