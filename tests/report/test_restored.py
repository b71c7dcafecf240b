"""A run as Python has it: the same numbers as the command line's, and what it draws and says."""

import csv
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any, assert_type

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxft
from jaxft.cli import main
from jaxft.data.images.file import decode
from jaxft.data.images.resize import crop, resize
from jaxft.data.images.sizing import Sizing
from jaxft.errors import UserError
from jaxft.evaluation import embed
from jaxft.evaluation.evaluate import evaluate
from jaxft.evaluation.prediction import Prediction
from jaxft.workdir import history
from jaxft.workdir.rows import append_row, read_object

CLASSES = ("blue", "green", "red")


def rows(workdir, tmp_path, files, *flags):
    """Rows of the CSV that `jaxft predict` writes."""
    output = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
    assert main.main(["predict", f"--workdir={workdir}", f"--output={output}", *flags, *files]) == 0
    with open(output, newline="") as file:
        return list(csv.DictReader(file))


def as_row(file, prediction):
    """A prediction as a row of that CSV."""
    chances = {f"p_{name}": f"{p:.6f}" for name, p in prediction.probabilities.items()}
    return {"file": file, "label": prediction.label, **chances}


@pytest.mark.slow
def test_predictions_are_the_command_lines_to_the_last_digit(finished, tiny, drawn, tmp_path):
    files = sorted(map(str, drawn.glob("*/0*.png")))
    run = jaxft.restore(finished)
    assert [as_row(*pair) for pair in zip(files, run.predict(files), strict=True)] == rows(
        finished, tmp_path, files
    )
    assert [as_row(files[3], run.predict(files[3]))] == rows(finished, tmp_path, files[3:4])
    views = run.predict(files[:9], tta=2)
    assert [as_row(*pair) for pair in zip(files[:9], views, strict=True)] == rows(
        finished, tmp_path, files[:9], "--tta=2"
    )


def test_a_file_an_image_and_an_array_are_the_same(finished, tiny, drawn):
    run, file = jaxft.restore(finished), drawn / "red" / "03.png"
    by_file = run.predict(file)
    assert by_file.label == "red"
    with Image.open(file) as image:
        found = [run.predict(image), run.predict(np.asarray(image)), run.predict(str(file))]
    assert found == [by_file] * 3
    together = run.predict([file, decode(file), Image.open(file), jnp.asarray(decode(file))])
    assert [one.label for one in together] == ["red"] * 4
    assert together == [together[0]] * 4
    assert together[0].probability == pytest.approx(by_file.probability, rel=1e-5)


def test_features_are_those_that_the_command_line_writes(finished, tiny, drawn):
    run, files = jaxft.restore(finished), sorted(map(str, drawn.glob("red/*.png")))
    assert (run.embed(files) == embed.embed(embed.of_run(finished), files).features).all()
    one = run.embed(files[0])
    assert one.shape == (32,) and one.dtype == np.float32
    np.testing.assert_allclose(one, run.embed(files)[0], rtol=1e-4, atol=1e-6)


def test_what_a_run_loads_is_what_it_predicts_from(finished, tiny):
    run = jaxft.restore(finished)
    images = list(np.random.default_rng(0).integers(0, 256, (5, 40, 70, 3), np.uint8))
    squares = run.load(images)
    sizing = Sizing(36, run.config.data.interpolation)
    assert (squares == [crop(resize(image, sizing), 36) for image in images]).all()
    assert (run.load(images[3]) == squares[3]).all()
    told = [list(one.probabilities.values()) for one in run.predict(images)]
    np.testing.assert_allclose(run.apply(squares), told, atol=2e-6)


def test_no_images_give_no_results(finished, tiny):
    run = jaxft.restore(finished)
    assert run.predict([]) == []
    assert run.load([]).shape == (0, 36, 36, 3)
    assert run.embed([]).shape == (0, 32)


def test_programs_are_compiled_once(finished, tiny, drawn):
    run, files = jaxft.restore(finished), sorted(drawn.glob("red/*.png"))
    for _ in range(2):
        for several in (files[:3], files[:9]):
            run.predict(several, batch_size=16)
        run.predict(files[0])
    features: Any = run._ready.programs.forward.features
    assert features._cache_size() == 2  # batches of 16, and one image alone


def test_everything_that_is_no_image_is_listed(finished, tiny, drawn, unsealed, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["skip_bad"] = True  # in training; here every image has its result
    (workdir / "config.json").write_text(json.dumps(config))
    (tmp_path / "cut.png").write_bytes((drawn / "red" / "03.png").read_bytes()[:99])
    run = jaxft.restore(workdir)
    files = [drawn / "red" / "03.png", tmp_path / "cut.png", "gone.png"]
    images: list[Any] = [*files, np.zeros((9, 9, 4)), 5]
    with pytest.raises(UserError, match=r"uint8 from 0 to 255, \[height, width, 3\]") as error:
        run.predict(images)
    assert [line.split(":")[0] for line in error.value.offenders] == [
        str(tmp_path / "cut.png"),
        "gone.png",
        "images[3]",
        "images[4]",
    ]


def test_apply_looks_at_what_it_is_given(finished, tiny):
    run = jaxft.restore(finished)
    for images in (np.zeros((1, 32, 32, 3)), np.zeros((1, 32, 31, 3), np.uint8)):
        with pytest.raises(UserError, match=r"uint8 \[B, S, S, 3\]"):
            run.apply(images)


def test_metrics_are_the_command_lines(finished, tiny, drawn):
    run = jaxft.restore(finished)
    assert run.evaluate() == evaluate(finished).scores
    red = run.evaluate(source=f"folder:{drawn}", batch_size=16)
    assert (red["split"], red["examples"]) == ("all", 42)
    with pytest.raises(UserError, match="train, valid, test, all"):
        run.evaluate("tests")


def test_a_run_keeps_the_weights_that_it_was_restored_with(finished, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    run = jaxft.restore(workdir)
    shutil.rmtree(workdir / "checkpoints")
    assert run.evaluate("train")["examples"] == 29


def test_pictures_are_figures_of_their_own(finished, tiny, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    run = jaxft.restore(finished)
    figures = [run.plot_losses(), run.plot_rates(), run.plot_confusion()]
    assert [len(figure.axes) for figure in figures] == [3, 1, 1]
    assert [text.get_text() for text in figures[2].axes[0].get_xticklabels()] == list(CLASSES)
    assert sum(int(text.get_text()) for text in figures[2].axes[0].texts) == 13
    assert all(figure._repr_png_().startswith(b"\x89PNG") for figure in figures)
    assert "matplotlib.pyplot" not in sys.modules


def test_the_text_of_a_run_is_a_few_lines(finished, tiny):
    run = jaxft.restore(finished)
    best = json.loads((finished / "summary.json").read_text())["best"]
    assert repr(run).splitlines() == [
        f"Run {finished}, best weights",
        "  model: tiny, 32 px",
        "  classes: 3: blue, green, red",
        f"  best: accuracy {best['accuracy']:.4f}, validation loss {best['val_loss']:.4f} "
        f"({best['phase']}, epoch {best['epoch']})",
    ]


def test_a_run_has_its_course(finished, tiny):
    run = jaxft.restore(finished)
    assert (run.workdir, run.classes) == (finished, CLASSES)
    assert run.summary == read_object(finished / "summary.json")
    assert len(run.history) == sum(phase["epochs"] for phase in run.summary["phases"])
    assert set(run.params) == {"early", "late", "head"} == set(run.batch_stats)
    assert run.config.data.image_size == 32
    assert run.config.phases[2].name == "full"


def test_an_unfinished_run_draws_what_there_is(finished, tiny, tmp_path, monkeypatch):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "summary.json").unlink()
    run = jaxft.restore(workdir)
    assert run.summary == {}
    best = [row for row in run.history if row.get("best")][-1]
    assert f"{best['val_loss']:.4f} ({best['phase']}, epoch {best['epoch']})" in repr(run)
    assert len(run.plot_losses().axes) == 3
    with pytest.raises(UserError, match="has not ended"):
        run.plot_rates()
    append_row(workdir / "metrics.jsonl", {**best, "val_loss": math.nan})
    run = jaxft.restore(workdir)
    assert "validation loss – (" in repr(run)  # noqa: RUF001
    assert len(run.plot_losses().axes) == 3
    (workdir / "metrics.jsonl").unlink()
    monkeypatch.setattr(history, "stored", lambda workdir: [])  # one of an earlier version
    assert len(repr(jaxft.restore(workdir)).splitlines()) == 3
    with pytest.raises(UserError, match="no epoch has ended"):
        jaxft.restore(workdir).plot_losses()


def test_one_image_has_one_prediction_for_a_type_checker_too(finished, tiny, drawn):
    run, file = jaxft.restore(finished), str(drawn / "red" / "03.png")
    assert isinstance(assert_type(run.predict(file), Prediction), jaxft.Prediction)
    assert isinstance(assert_type(run.predict([file]), list[Prediction]), list)
    assert isinstance(assert_type(run, jaxft.Run).workdir, Path)


def test_a_prediction_names_the_most_probable():
    chances = {"a": 0.125, "b": 0.5, "c": 0.25, "d": 0.125}
    found = Prediction("b", 0.5, chances)
    assert found.top(2) == [("b", 0.5), ("c", 0.25)]
    assert found.top() == [("b", 0.5), ("c", 0.25), ("a", 0.125), ("d", 0.125)]
    assert repr(found) == "Prediction(b: 0.5000, c: 0.2500, a: 0.1250, ...)"
    assert repr(Prediction("b", 1.0, {"b": 1.0})) == "Prediction(b: 1.0000)"
