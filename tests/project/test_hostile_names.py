"""Names of files, classes and folders that would command a terminal or a spreadsheet: no verb lets
them.
"""

import ast
import csv
import io
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny as tiny_run
from places import ROOT
from torch_file import saved

import jaxft
from jaxft.cli import main
from jaxft.data.prepare import job, prepare
from jaxft.evaluation import feature_files, prediction_files
from jaxft.evaluation.prediction_files import Layout, Predicted
from jaxft.report.answers import files as answers
from jaxft.workdir.rows import write_json

OWNED = "\x1b]0;owned\x07\x9b31m\u202e\nFAKE line\r"
FORMULA = "=cmd|' :C'!A0"
CLASSES = (f"{FORMULA}{OWNED}", f"@SUM(1){OWNED}", "plain")


@pytest.fixture(scope="module")
def hostile(drawn, tmp_path_factory):
    """The drawn images, in folders and under names that nobody should trust."""
    folder = tmp_path_factory.mktemp("data") / f"images{OWNED}"
    for name, theirs in zip(CLASSES, sorted(drawn.iterdir()), strict=True):
        shutil.copytree(theirs, folder / name)
        for file in (folder / name).iterdir():
            file.rename(file.with_name(f"={OWNED}{file.name}"))
    return folder


def harmless(told):
    """Whether a terminal shows a text as it stands, and no name begins a line of its own."""
    odd = [sign for sign in told if unicodedata.category(sign) == "Cc" and sign not in "\t\n"]
    return not odd and "\u202e" not in told and "\nFAKE" not in told


# --- spreadsheets -------------------------------------------------------------------------------


def _predictions(folder, data):
    found = Predicted(CLASSES, CLASSES, np.eye(3, dtype=np.float32), {FORMULA: np.ones(3)})
    prediction_files.write(folder / "predictions.csv", Layout(), found)
    prediction_files.write(folder / "top.csv", Layout(topk=2), found)


def _answers(folder, data):
    split = replace(tiny_run.split(tiny_run.canvases(3), "x"), names=CLASSES)
    wrong = np.roll(np.eye(3, dtype=np.float32), 1, 0)
    answers.write_answers(folder, {}, wrong, tiny_run.images(split), CLASSES)


def _features(folder, data):
    feature_files.write(folder / "features.npy", CLASSES, np.ones((3, 2), np.float32))


def _prepared(folder, data):
    shutil.copytree(data, folder / "copy")
    classes = [folder / "copy" / name for name in CLASSES]
    for place in classes:
        shutil.copyfile(next(place.iterdir()), classes[1] / f"{FORMULA}.png")
        (place / f"{FORMULA}2.png").write_bytes(b"no image")
    form = job.Form(8, "raw", 90)
    prepare.prepare(f"folder:{folder / 'copy'}", str(folder / "out"), form, 1)


WRITERS = {
    _predictions: {"predictions.csv", "top.csv"},
    _answers: {"predictions.csv", "wrong.csv", "confusion.csv"},
    _features: {"features.csv"},
    _prepared: {"bad_files.csv", "duplicates.csv"},
}


@pytest.mark.parametrize("write", WRITERS)
def test_no_cell_of_any_csv_is_a_formula(write, hostile, tmp_path):
    write(tmp_path, hostile)
    tables = [*tmp_path.rglob("*.csv")]
    assert {table.name for table in tables} == WRITERS[write]
    for table in tables:
        text = table.read_bytes().decode(errors="surrogateescape")
        cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert any("cmd|" in cell or "SUM(1)" in cell for cell in cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_every_csv_goes_through_the_writer_that_is_tested_above():
    writers = {"csv.writer": {"jaxft/runtime/csv_rows.py"}}
    writers["csv_rows.fill_exactly"] = {"jaxft/evaluation/prediction_files.py"}  # a submission's
    writers["csv_rows.fill"] = {
        "jaxft/data/prepare/outcome.py",
        "jaxft/evaluation/feature_files.py",
        "jaxft/evaluation/prediction_files.py",
        "jaxft/report/answers/files.py",
    }
    calls: dict[str, set[str]] = {
        name: set() for name in (*writers, "csv.DictWriter", "np.savetxt")
    }
    for file in ROOT.glob("jaxft/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in calls:
                calls[ast.unparse(node)].add(str(file.relative_to(ROOT)))
    assert {name: found for name, found in calls.items() if found} == writers


# --- terminals ----------------------------------------------------------------------------------


@pytest.fixture
def told(capfd, monkeypatch, tmp_path, tiny):
    """A function that runs a verb and returns its exit code, when nothing odd was printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main.main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert harmless(out), ascii(out)
        assert harmless(err), ascii(err)
        return code

    return run


def card(source):
    return f"--config={ROOT}/tests/support/tiny_config.py:{source}"


def test_a_verb_that_prints_a_name_as_it_is_would_be_noticed():
    assert not harmless(OWNED) and not harmless("\nFAKE") and harmless("naïve\t写真\n")


def test_the_errors_of_the_command_line(told, hostile, tmp_path):
    evil, w = f"nowhere{OWNED}", "--workdir=w"
    for words in (
        ["train", card(evil), w],
        ["train", card(hostile), w, f"--config.data.source=csv:{evil}"],
        ["train", card(hostile), w, f"--config.data.source=x{OWNED}:y"],
        ["train", card(hostile), w, f"--config.model.name=resnet18{OWNED}"],
        ["train", card(hostile), w, f"--config.init_from={evil}", f"--config.track={evil}"],
        ["train", card(hostile), w, f"--config.x{OWNED}=1", f"--config.phases[1].lr={OWNED}"],
        ["train", f"--config={evil}", w],
        ["train", f"--{evil}", w],
        [evil],
        *([verb, f"--workdir={evil}"] for verb in ("report", "evaluate")),
        ["predict", f"--workdir={evil}", evil],
        ["predict", f"--workdir={evil}", hostile, f"--output={evil}/p.csv"],
        ["embed", f"--workdir={evil}", hostile, f"--output={evil}.npy"],
        ["compare", evil, evil],
        ["export", f"--workdir={evil}", "--output=x", "--to=timm"],
        ["push", evil, evil],
        ["prepare", f"--source=folder:{evil}", "--output=x"],
        ["prepare", f"--source=folder:{hostile}", f"--output={hostile}/x"],
        ["plan", card(evil)],
        ["augment_preview", card(evil), f"--output={evil}.png"],
        ["keys", evil],
        ["configs", evil],
    ):
        assert told(*words) == 2, words


@pytest.mark.slow
def test_the_errors_of_data(told, hostile, tmp_path):
    copy = shutil.copytree(hostile, tmp_path / "copy")
    for file in [*copy.rglob("*.png")][:2]:
        file.write_bytes(b"no image")
    assert told("train", card(copy), "--workdir=w") == 2
    for folder in [*copy.iterdir()][:2]:
        shutil.rmtree(folder)
    assert told("train", card(copy), "--workdir=w") == 2
    row = f'"{OWNED}.png","{OWNED}"\n'
    for text in (f'file,label,"{OWNED}"\n{row}', f"file,label\n{row}{row}", f"{OWNED}\n"):
        (tmp_path / "t.csv").write_text(text)
        assert told("train", card(copy), "--workdir=w", "--config.data.source=csv:t.csv") == 2


def test_the_errors_of_weights(told, hostile, tmp_path):
    weights = {f"a.{OWNED}": np.ones(2, np.float32)}
    words = ["train", card(hostile), "--workdir=w", "--config.model.name=resnet18"]
    for content in ({OWNED: weights}, {OWNED: weights, f"b{OWNED}": weights}, {OWNED: 1}):
        (tmp_path / "w.pth").write_bytes(saved(content))
        assert told(*words, "--config.model.weights=file:w.pth") == 2
        assert told(*words, f"--config.model.weights=file:w.pth#{OWNED}") == 2


@pytest.mark.slow
def test_what_verbs_say_of_data_with_such_names(told, hostile, finished, unsealed):
    shutil.copytree(finished, "w")
    write_json(Path("w/classes.json"), CLASSES)
    source, image = f"--source=folder:{hostile}", next(hostile.rglob("*.png"))
    assert told("predict", "--workdir=w", hostile) == 0
    assert told("predict", "--workdir=w", image, f"--output=p{OWNED}.csv") == 0
    assert told("evaluate", "--workdir=w", source, f"--output=e{OWNED}") == 0
    assert told("compare", f"e{OWNED}", f"e{OWNED}") == 0
    assert told("embed", "--workdir=w", image, f"--output={OWNED}.npy") == 0
    assert told("report", "--workdir=w", f"--output={OWNED}.html") == 0
    assert told("augment_preview", card(hostile), f"--output={OWNED}.png") == 0
    assert told("plan", card(hostile)) == 0
    assert told("evaluate", f"--workdir={finished}", source) == 2
    run = jaxft.restore("w")
    assert harmless(repr(run)) and harmless(repr(run.predict(image)))


@pytest.mark.slow
def test_images_that_are_skipped_are_listed(told, hostile):
    """The listing is a warning, on its way to the console."""
    copy = shutil.copytree(hostile, "copy")
    next(Path(copy).rglob("*.png")).write_bytes(b"no image")
    words = ["lr_find", card(copy), "--workdir=w", "--phase=head_cached"]
    assert told(*words, "--config.data.skip_bad=true", "--config.data.balance=sampling") == 0
