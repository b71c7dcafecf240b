"""The entrance from Python: names, training by a card's name, progress."""

import inspect
import json
import rlcompleter
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_config
from places import SUPPORT

import jaxft
from jaxft import run as inner
from jaxft.cli import python
from jaxft.config.plain import as_dict
from jaxft.errors import Interrupted, UserError
from jaxft.workdir.rows import read_object

PUBLIC = ["Prediction", "Run", "__version__", "restore", "train"]


def test_completion_offers_the_public_names_alone():
    complete = rlcompleter.Completer({"jaxft": jaxft}).attr_matches
    assert [name.rstrip("()") for name in complete("jaxft.")] == [
        f"jaxft.{name}" for name in PUBLIC if name != "__version__"
    ]
    assert dir(jaxft) == jaxft.__all__ == PUBLIC


def test_public_names_say_what_they_take():
    for name in set(PUBLIC) - {"__version__"}:
        assert inspect.getdoc(getattr(jaxft, name))
    annotations = inspect.signature(jaxft.train).return_annotation
    assert annotations is jaxft.Run
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        jaxft.trian  # type: ignore[attr-defined]  # noqa: B018


def test_to_import_and_to_complete_does_not_import_jax():
    code = "import sys, jaxft; dir(jaxft); sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_types_are_shipped():
    assert Path(inspect.getfile(jaxft)).with_name("py.typed").is_file()


@pytest.fixture
def asked(monkeypatch):
    """The configs and consoles that the inner function is given, which does nothing."""
    calls = []
    monkeypatch.setattr(inner, "train", lambda *given: calls.append(given))
    opened = object.__new__(jaxft.Run)
    monkeypatch.setattr(python, "restore", lambda workdir, quiet: opened)
    return calls


def test_a_name_a_path_and_a_config_are_the_same(asked, drawn, tiny):
    card = f"{SUPPORT / 'tiny_config.py'}:{drawn}"
    config = tiny_config.get_config(drawn)
    before = as_dict(config)
    overrides = {"model.name": "resnet18", "phases[2].lr": 0.01, "model.hidden": (4, 4)}
    for given in (card, config, as_dict(config)):
        assert isinstance(jaxft.train(given, "somewhere", overrides), jaxft.Run)
    first, *others = [as_dict(config) for config, _, _ in asked]
    assert others == [first, first]
    assert first["phases"][2]["lr"] == 0.01
    assert first["model"]["hidden"] == [4, 4]
    assert as_dict(config) == before
    jaxft.train("folder", "somewhere", {"data.source": f"folder:{drawn}", "augment.flip": False})
    assert asked[-1][0].data.source == f"folder:{drawn}"
    assert asked[-1][0].augment.flip is False


def test_every_wrong_override_is_listed(asked):
    with pytest.raises(UserError) as error:
        jaxft.train("folder", "somewhere", {"data.sorce": "x", "seed": "one", "data": 3})
    assert len(error.value.offenders) == 3
    assert "did you mean source?" in error.value.offenders[0]
    assert asked == []
    with pytest.raises(UserError, match="No config photos"):
        jaxft.train("photos", "somewhere")


def test_it_speaks_unless_it_is_told_to_be_quiet(asked, drawn, capsys):
    for quiet in (False, True):
        jaxft.train("folder", "somewhere", quiet=quiet)
        asked[-1][2].say(f"quiet={quiet}")
    assert capsys.readouterr().out == "quiet=False\n"


def test_an_interruption_says_what_resumes(asked, monkeypatch, capsys):
    def interrupted(*_):
        raise Interrupted

    monkeypatch.setattr(inner, "train", interrupted)
    with pytest.raises(Interrupted):
        jaxft.train("folder", "somewhere")
    assert capsys.readouterr().out == "interrupted; the same call resumes from here\n"


def test_a_finished_run_is_opened(finished, tiny, drawn, tmp_path, capsys):
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    run = jaxft.train(config, workdir)
    assert run.summary == read_object(workdir / "summary.json")
    assert "already holds this run" in capsys.readouterr().out
    again = jaxft.train(run.config, workdir, quiet=True)
    assert again.summary == run.summary
    assert capsys.readouterr().out == ""
