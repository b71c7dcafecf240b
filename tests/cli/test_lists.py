"""What there is: configs, models, keys, and completion by the shell."""

import os
import shutil
import subprocess
import sys

import pytest
from places import ROOT

from jaxft.cli import completion, main
from jaxft.cli.config_file import shipped
from jaxft.models.registry import BODIES


def printed(capsys, *arguments):
    assert main.main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_configs_are_listed_with_purpose_and_file(capsys):
    lines = printed(capsys, "configs")
    assert set(shipped()) <= set(lines) and "base" not in lines
    place = lines.index("quickstart")
    assert lines[place + 1].startswith("    Quickstart: handwritten digits with EfficientNet-Lite0")
    assert f"    {shipped()['quickstart']}" in lines
    assert max(len(line) for line in lines if "/" not in line) <= 80


def test_values_of_a_config_are_listed_beside_other_defaults(capsys):
    lines = printed(capsys, "configs", "folder")
    assert "data.batch_size = 32  # default: 64" in lines
    assert "data.image_size = 224" in lines
    assert "phases.full.max_cycles = 3  # default: 6" in lines
    assert "phases.full.name = 'full'" in lines
    assert main.main(["configs", "foldr"]) == 2
    assert "Did you mean folder?" in capsys.readouterr().err


def test_keys_are_listed_by_a_part_of_their_names(capsys):
    everything = printed(capsys, "keys")
    assert "data.image_size  whole number, default 224" in everything
    assert max(map(len, everything)) <= 80
    phases = printed(capsys, "keys", "phases")
    assert [line for line in phases if line[0] != " " and "phases.NAME." not in line] == []
    assert phases[:2] == [
        "phases.NAME.lr  number or word, default 'find'",
        '    a rate | "find" | "previous" (the phase before\'s)',
    ]
    assert printed(capsys, "keys", "--", "--config.data.fold") == printed(
        capsys, "keys", "data.fold"
    )


def test_models_are_listed_with_sizes_and_weights(capsys):
    lines = printed(capsys, "models")
    table = {line.split()[0]: line.split()[1:] for line in lines if line[0] != " "}
    assert set(BODIES) <= set(table)
    # As published, less the classifier: 25,557,032 - 2,049,000 and 11,689,512 - 513,000.
    assert table["resnet50"] == ["23.5", "M", "2048", "224", "px"]
    assert table["resnet18"] == ["11.2", "M", "512", "224", "px"]
    weights = lines[lines.index(next(line for line in lines if line.startswith("resnet18 "))) + 1]
    assert weights.startswith("    weights: imagenet, tv_in1k, ")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [("keys",), ("configs", "folder"), ("help", "train")])
def test_without_a_reader_a_list_ends_with_the_code_of_a_broken_pipe(words):
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "-m", "jaxft", *words],
        stdout=into,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    os.close(into)
    assert (done.returncode, done.stderr) == (141, b"")


# Completion.


def test_without_the_package_completion_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main.main(["completion", "bash"]) == 2
    assert "pip install 'jaxft[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script(shell, capsys):
    pytest.importorskip("shtab")
    lines = "\n".join(printed(capsys, "completion", shell))
    assert all(verb in lines for verb in main.VERBS)
    assert "tta_method" in lines and "fastai07" in lines


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("jaxft tr", ["train"]),
        ("jaxft evaluate --tta_", ["--tta_method"]),
        ("jaxft evaluate --tta_method fastai0", ["fastai07"]),
        ("jaxft evaluate --workdir pho", ["photos"]),
        ("jaxft train --config mi", ["mine.py"]),
    ],
)
def test_bash_completes(typed, completed, tmp_path):
    pytest.importorskip("shtab")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos.csv").touch()  # no place for a run
    (tmp_path / "mine.py").touch()
    script = completion.script(main.parsers()[""], "bash")
    asking = (
        f"{script}\nCOMP_WORDS=({typed})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "_shtab_jaxft\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    found = subprocess.run(
        [bash, "-c", asking], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [word.strip() for word in found.stdout.split("\n") if word] == completed
