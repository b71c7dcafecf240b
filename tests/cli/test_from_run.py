"""`jaxft train --from=DIR --phase=NAME`: a run's config, or some of a card's phases."""

import json
import shutil
from typing import Any

import pytest
from places import SUPPORT

from jaxft.cli import main
from jaxft.config.plain import as_config, as_dict
from jaxft.runtime import digests
from jaxft.workdir import checkpoint

TINY = SUPPORT / "tiny_config.py"


@pytest.fixture
def asked(monkeypatch):
    """Returns the config, as plain data, that a command line trains."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("jaxft.cli.early.check", lambda _: None)  # there are no images
    monkeypatch.setattr("jaxft.run.train", lambda config, *_: found.append(as_dict(config)))

    def ask(*words):
        assert main.main(["train", "--workdir=new", *words]) == 0
        return found.pop()

    return ask


def refusal(capsys, *words):
    assert main.main(["train", *words]) == 2
    return capsys.readouterr().err


def test_a_run_s_config_comes_back_as_it_was(finished):
    plain = json.loads((finished / "config.json").read_text())
    assert as_dict(as_config(plain)) == plain


def test_a_run_s_phase_with_its_config_and_weights(asked, finished, tiny):
    before = json.loads((finished / "config.json").read_text())
    config = asked(f"--from={finished}", "--phase=full", "--config.phases[0].max_cycles=5")
    (phase,) = config["phases"]
    assert phase == {**before["phases"][2], "max_cycles": 5}
    changed = {"init_from": str(finished), "phases": config["phases"]}
    assert config == {**before, **changed}


def test_all_phases_where_none_is_named(asked, finished, tiny):
    names = [phase["name"] for phase in asked(f"--from={finished}")["phases"]]
    assert names == ["head_cached", "head_augmented", "full"]


def test_some_phases_of_a_card_in_its_order(asked, tiny):
    config = asked(f"--config={TINY}:x", "--phase=full,head_cached")
    assert [phase["name"] for phase in config["phases"]] == ["head_cached", "full"]
    assert config["init_from"] == ""


def test_a_card_begins_with_a_run_s_weights(asked, finished, tiny):
    config = asked(f"--config={TINY}:x", f"--from={finished}", "--config.seed=4")
    assert (config["init_from"], config["seed"]) == (str(finished), 4)
    assert config["data"]["source"] == "folder:x"


def test_phases_that_are_not_there_are_all_listed(finished, capsys, tiny):
    words = [f"--from={finished}", "--workdir=new", "--phase=body,full,tail"]
    told = refusal(capsys, *words)
    assert "  - 'body'\n  - 'tail'\n" in told and "head_cached, head_augmented, full" in told


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    told = refusal(capsys, f"--from={tmp_path}", "--workdir=new")
    assert "holds no run to begin with: config.json is not there" in told
    (tmp_path / "config.json").write_text("[3]")
    assert "config.json cannot be read" in refusal(capsys, f"--from={tmp_path}", "--workdir=new")


def test_a_run_does_not_begin_in_its_own_workdir(finished, capsys):
    told = refusal(capsys, f"--from={finished}", f"--workdir={finished}/")
    assert "are the same run" in told


def test_a_command_without_a_config_is_refused(capsys):
    assert "--config=NAME or --from=DIR" in refusal(capsys, "--workdir=new")


def test_keys_without_a_config_are_refused(capsys):
    assert "train takes no config" in refusal(capsys, "--workdir=new", "--config.seed=1")


def test_a_phase_that_wants_the_rate_before_it_is_refused(finished, capsys, tiny, tmp_path):
    words = [f"--from={finished}", "--phase=head_augmented", f"--workdir={tmp_path / 'new'}"]
    assert "lr is 'previous', but no phase comes before it" in refusal(capsys, *words)


@pytest.mark.slow
def test_a_phase_on_its_own_begins_with_the_best_weights(finished, tiny, tmp_path):
    before = shutil.copytree(finished, tmp_path / "before")
    workdir = tmp_path / "new"
    words = [f"--from={before}", "--phase=full", f"--workdir={workdir}"]
    still = ["--config.phases[0].lr=1e-30", "--config.phases[0].max_cycles=1"]
    assert main.main(["train", *words, *still]) == 0
    heads = [checkpoint.read_newest(place).best["params"]["head"] for place in (before, workdir)]
    assert digests.digest(heads[0]) == digests.digest(heads[1])
    origin = json.loads((workdir / "weights.json").read_text())
    assert origin["seed"] != 0 and len(origin["digest"]) == 64
    assert main.main(["train", *words, *still]) == 0  # the same command finds it finished
