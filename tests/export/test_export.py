"""`jaxft export`: what is written answers as the run does, or nothing is left."""

import importlib.util
import json
import re
import shutil
from typing import Any

import drawn_images
import numpy as np
import pytest
import untrained

from jaxft.cli import main
from jaxft.evaluation import predict
from jaxft.export import formats, onnx, opening, reference, stablehlo, timm
from jaxft.runtime.console import Console

HEADS: dict[str, dict[str, Any]] = {
    "resnet18": {"hidden": (), "pooling": "avg"},
    "resnext50_32x4d": {"hidden": (), "pooling": "max_avg"},
    "efficientnet_lite0": {"hidden": (16,), "dropout": (0.1, 0.2), "pooling": "max_avg"},
}


@pytest.fixture(scope="module", name="images")
def _images(tmp_path_factory):
    """Of 108 drawn images half are for validation."""
    return drawn_images.draw_folder(tmp_path_factory.mktemp("images"), per_class=36)


def export(workdir, output, to="stablehlo", *more):
    return main.main(["export", f"--workdir={workdir}", f"--to={to}", f"--output={output}", *more])


def told(text):
    """Format -> the difference that the verb printed, and the words for the images."""
    lines = re.findall(r"^(\w+): at most (\S+) from the run's probabilities, on (.*)$", text, re.M)
    return {name: (float(number), words) for name, number, words in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_every_format_answers_as_predict_does_on_fifty_images(name, images, tmp_path, capsys):
    workdir = untrained.write(tmp_path / "run", f"folder:{images}", name=name, **HEADS[name])
    assert export(workdir, tmp_path / "out", "timm,stablehlo,onnx") == 0
    found = told(capsys.readouterr().out)
    assert {words for _, words in found.values()} == {"50 of the run's validation images"}
    assert found.keys() == {"timm", "stablehlo", "onnx"}
    assert max(number for number, _ in found.values()) <= 1e-4
    # The same again from the files and the table that the verb `predict` writes.
    subject = opening.of_run(workdir)
    split, _ = reference.images_of(subject, workdir, (), Console(None))
    predict.predict_files(workdir, list(split.names[:50]), tmp_path / "table.csv")
    rows = np.genfromtxt(tmp_path / "table.csv", delimiter=",", skip_header=1)[:, 2:]
    assert rows.std(0).max() > 1e-2, "the answers should differ from image to image"
    own = reference.ask(subject, workdir, split.names[:50], Console(None))
    np.testing.assert_allclose(own.probabilities, rows, atol=2e-5)
    out = tmp_path / "out"
    for one in (timm.reader(subject, out), stablehlo.reader(out), onnx.reader(out)):
        np.testing.assert_allclose(one(own.canvases), rows, atol=1e-4)


def test_where_the_answers_differ_the_verb_fails_and_leaves_nothing(
    finished, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(formats, "BOUND", -1.0)
    assert export(finished, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("jaxft: ") == 1 and "stablehlo: what was written differs by" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [np.full((2, 3), np.nan), np.zeros((2, 4))])
def test_no_number_and_another_shape_are_no_agreement(answers):
    found = formats.difference(lambda _: answers, np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(formats.Disagreement):
        formats.demand_agreement("x", found)


def test_without_the_runs_images_others_are_taken_and_that_is_said(
    finished, tiny, drawn, tmp_path, capsys
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["source"] = "folder:gone"
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "data.json").write_text("{}")
    assert export(workdir, tmp_path / "a") == 0
    out, error = capsys.readouterr()
    assert told(out)["stablehlo"][1] == "50 made-up images"
    assert "no such folder: gone" in error and "--images" in error
    assert export(workdir, tmp_path / "b", "stablehlo", "--images", str(drawn / "red")) == 0
    assert told(capsys.readouterr().out)["stablehlo"][1] == "14 images of --images"


def test_made_up_images_are_the_same_every_time_and_differ():
    first, second = (reference._made_up(24) for _ in range(2))
    one, again, other = first.read(0), second.read(0), first.read(1)
    assert one.shape == (24, 24, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10


def test_a_folder_that_holds_something_is_left_alone(finished, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert export(finished, tmp_path / "out") == 2
    assert "is there already" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(finished, tiny, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(finished, tmp_path / "out") == 0
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "model.json", "model.jax_exported"}
    assert [file.name for file in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


def test_formats_that_there_are_not_are_told_before_jax_is_imported(capsys):
    with pytest.raises(SystemExit) as refusal:
        export("gone", "out", "timm,tflite,pickle")
    assert refusal.value.code == 2
    assert (
        "'tflite', 'pickle': no such format; they are timm, stablehlo, onnx"
        in capsys.readouterr().err
    )


def test_all_that_keeps_a_model_from_being_exported_is_told_at_once(
    finished, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert export(finished, tmp_path / "out", "timm,stablehlo,onnx") == 2
    error = capsys.readouterr().err
    assert "timm: timm has no network that computes tiny" in error
    assert "stablehlo: JAX writes programs by flatbuffers" in error
    assert "onnx: ONNX needs onnx and onnxruntime" in error
    assert "pip install 'jaxft[stablehlo]'" in error and "pip install 'jaxft[onnx]'" in error
    assert not (tmp_path / "out").exists()


def test_every_name_on_the_command_line_is_a_format():
    from jaxft.cli import export as verb

    layouts = {f"onnx_{name}" for name in verb.LAYOUTS}
    assert verb.FORMATS.keys() | layouts == formats.FORMATS.keys()
    for load in formats.FORMATS.values():
        assert isinstance(load(), formats.Format)
