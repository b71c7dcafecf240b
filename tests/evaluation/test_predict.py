"""A run's weights at work: restored, evaluated on a split, and on files of one's own."""

import csv
import json
import shutil
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxft
from jaxft.cli import main
from jaxft.data.images.file import decode
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import Sizing
from jaxft.errors import UserError
from jaxft.evaluation import predict
from jaxft.evaluation.evaluate import evaluate
from jaxft.evaluation.probabilities import Scoring, in_batches
from jaxft.evaluation.restore import _shrink, read_workdir
from jaxft.runtime import digests
from jaxft.workdir import checkpoint

CLASSES = ("blue", "green", "red")


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_restore_best_and_last(finished, tiny):
    saved = checkpoint.read_newest(finished)
    best, last = (jaxft.restore(finished, which) for which in ("best", "last"))
    assert best.classes == last.classes == ("blue", "green", "red")
    assert digests.digest(best.params) == digests.digest(saved.best["params"])
    assert digests.digest(last.params) == digests.digest(saved.state["params"])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert best.apply(images).shape == (2, 3)
    np.testing.assert_allclose(best.apply(images).sum(1), 1, rtol=1e-6)


def test_a_run_from_before_a_key_that_changes_no_number_is_restored(finished, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    content = json.loads((workdir / "config.json").read_text())
    del content["track"], content["data"]["threads"], content["data"]["fit"]
    (workdir / "config.json").write_text(json.dumps(content))
    assert jaxft.restore(workdir).classes == ("blue", "green", "red")


@pytest.mark.parametrize(("file", "content"), [("config.json", "[1]"), ("classes.json", "3")])
def test_a_file_of_another_kind_is_no_runs(file, content, finished, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / file).write_text(content)
    with pytest.raises(UserError, match=f"{file} holds something else"):
        jaxft.restore(workdir)


def test_restore_knows_best_and_last_only(finished, tiny):
    with pytest.raises(UserError, match="best, last"):
        jaxft.restore(finished, "first")


def test_evaluate_scores_as_the_summary_says(finished, tiny):
    summary = json.loads((finished / "summary.json").read_text())
    scores = evaluate(finished).scores
    assert scores["examples"] == 13
    assert scores["accuracy"] == summary["accuracy"]
    assert scores["loss"] == pytest.approx(summary["val_loss"], abs=1e-6)
    assert set(scores["accuracy_by_class"]) == {"blue", "green", "red"}
    assert scores["balanced_accuracy"] == np.mean([*scores["accuracy_by_class"].values()])


@pytest.mark.slow
def test_how_many_images_at_a_time_does_not_matter(finished, tiny):
    alone = evaluate(finished, tta=1).scores
    for batch_size in (3, 16):
        together = evaluate(finished, tta=1, batch_size=batch_size).scores
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert together["examples"] == alone["examples"]


def test_a_single_image_is_computed_alone(finished, tiny):
    settings, _, _ = read_workdir(finished)
    asked = {0: {None: 8, 0: 8, 1: 1, 2: 8}, 3: {None: 3, 1: 3, 9: 3}}
    for batch_size, by_images in asked.items():
        for images, wanted in by_images.items():
            assert in_batches(settings, batch_size, images).data.batch_size == wanted


def test_the_workdir_alone_says_how_images_are_fed(finished, tiny, unsealed, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    losses = [evaluate(finished).scores["loss"]]
    for file, section, change in (
        ("config.json", "data", {"interpolation": "bicubic"}),
        ("config.json", "data", {"fit": "squash"}),
        ("config.json", "data", {"fit": "pad"}),
        ("preprocessing.json", None, {"mean": [0.0, 0.0, 0.0]}),
    ):
        content = json.loads((workdir / file).read_text())
        (content[section] if section else content).update(change)
        (workdir / file).write_text(json.dumps(content))
        losses.append(evaluate(workdir).scores["loss"])
    assert len(set(losses)) == 5
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    before, after = (jaxft.restore(at).apply(images) for at in (finished, workdir))
    assert np.abs(before - after).max() > 1e-3


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_arrays_are_shrunk_as_files_are(interpolation):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    ours = _shrink(jnp.asarray(noise[None]), 24, interpolation)[0].astype(int)
    assert np.abs(ours - resize(noise, Sizing(24, interpolation))).max() <= 2


@pytest.mark.slow
def test_evaluate_train_split_and_views(finished, tiny):
    assert evaluate(finished, "train").scores["examples"] == 29
    plain, two, again = (evaluate(finished, tta=n).scores["loss"] for n in (0, 2, 2))
    assert two == again != plain


def test_evaluate_test_split(finished, tiny, drawn, tmp_path):
    with pytest.raises(UserError, match="has no test split"):
        evaluate(finished, "test")
    with pytest.raises(UserError, match="train, valid, test"):
        evaluate(finished, "tests")
    workdir = shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(drawn)
    reds = shutil.copytree(drawn / "red", tmp_path / "data" / "test" / "red")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["source"] = f"folder:{tmp_path / 'data'}"
    (workdir / "config.json").write_text(json.dumps(config))
    scores = evaluate(workdir, "test").scores
    assert (scores["split"], scores["examples"]) == ("test", len(list(reds.iterdir())))
    assert set(scores["accuracy_by_class"]) == {"red"}


def test_evaluate_says_which_classes_differ(finished, tiny, unsealed, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "classes.json").write_text('["blue", "green", "pink"]')
    with pytest.raises(UserError) as error:
        evaluate(workdir)
    assert error.value.offenders == ("only in the run: pink", "only in the data: red")


def test_predict_without_the_data(finished, tiny, drawn, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["source"] = "folder:gone"
    (workdir / "config.json").write_text(json.dumps(config))
    file = tmp_path / "alone.png"
    shutil.copy(drawn / "red" / "00.png", file)
    output = tmp_path / "out.csv"
    told = predict.predict_files(workdir, [str(file), str(drawn / "blue")], output)
    assert len(told.files) == 15
    found = table(output)
    assert list(found[0]) == ["file", "label", "p_blue", "p_green", "p_red"]
    assert [row["file"] for row in found] == [
        str(file),
        *(str(drawn / "blue" / f"{number:02d}.png") for number in range(14)),
    ]
    for row in found:
        chances = {name: float(row[f"p_{name}"]) for name in ("blue", "green", "red")}
        assert sum(chances.values()) == pytest.approx(1, abs=2e-6)
        assert row["label"] == max(chances, key=chances.__getitem__)


def test_predicted_labels_score_as_evaluate_says(finished, tiny, drawn, tmp_path):
    output = tmp_path / "out.csv"
    predict.predict_files(finished, [str(drawn)], output)
    right = [row["label"] in row["file"].split("/") for row in table(output)]
    parts = [evaluate(finished, split).scores for split in ("train", "valid")]
    assert sum(right) == round(sum(part["accuracy"] * part["examples"] for part in parts))


@pytest.mark.slow
def test_views_change_probabilities_and_not_from_call_to_call(finished, tiny, drawn, tmp_path):
    files = [str(drawn / "red" / "00.png"), str(drawn / "blue" / "00.png")]
    found = {}
    for name, tta, method in (
        ("plain", 0, "fastai07"),
        ("views", 4, "fastai07"),
        ("again", 4, "fastai07"),
        ("logs", 4, "fastai2"),
    ):
        predict.predict_files(finished, files, tmp_path / name, Scoring(tta=tta, method=method))
        found[name] = (tmp_path / name).read_text()
    assert found["views"] == found["again"]
    assert len({found["plain"], found["views"], found["logs"]}) == 3


def test_restored_apply_agrees_with_predict(finished, tiny, tmp_path):
    canvas = np.random.default_rng(1).integers(0, 256, (36, 36, 3), np.uint8)
    Image.fromarray(canvas).save(tmp_path / "square.png")
    assert (decode(str(tmp_path / "square.png")) == canvas).all()
    predict.predict_files(finished, [str(tmp_path / "square.png")], tmp_path / "out.csv")
    (row,) = table(tmp_path / "out.csv")
    applied = jaxft.restore(finished).apply(canvas[None])[0]
    told = [float(row[f"p_{name}"]) for name in ("blue", "green", "red")]
    np.testing.assert_allclose(applied, told, atol=2e-6)


def test_unreadable_files_are_all_listed_and_nothing_is_written(finished, tiny, drawn, tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(UserError) as error:
        predict.predict_files(
            finished,
            [str(tmp_path / "a.png"), str(drawn / "red"), str(tmp_path / "b.jpg")],
            tmp_path / "out.csv",
        )
    assert len(error.value.offenders) == 2
    assert "config" not in error.value.hint, "predict takes no config"
    assert not (tmp_path / "out.csv").exists()


def test_the_verb_tells_where_the_table_is(finished, tiny, drawn, tmp_path, capsys):
    output = tmp_path / "out.csv"
    arguments = [f"--workdir={finished}", f"--output={output}", "--tta=1", str(drawn / "red")]
    assert main.main(["predict", *arguments]) == 0
    *summary, last = capsys.readouterr().out.splitlines()
    assert last == f"14 images -> {output}"
    rows = table(output)
    counts = Counter(row["label"] for row in rows)
    assert [line.split()[:2] for line in summary[1:-1]] == [
        [name, str(count)] for name, count in counts.most_common()
    ]
    sure = np.mean([max(float(row[f"p_{name}"]) for name in CLASSES) >= 0.9 for row in rows])
    assert f"of {sure:.0%}, unsure" in summary[-1]


def test_names_and_labels_stay_together_where_a_bad_file_is_skipped(
    finished, tiny, drawn, unsealed, tmp_path
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["skip_bad"] = True
    (workdir / "config.json").write_text(json.dumps(config))
    files = sorted(str(path) for path in drawn.rglob("*.png"))[:3]
    (tmp_path / "aa.png").write_bytes(b"no image")
    for name, source in zip(("a.png", "b.png", "c.png"), files, strict=True):
        shutil.copy(source, tmp_path / name)
    predict.predict_files(finished, files, tmp_path / "plain.csv")
    chosen = [str(tmp_path / name) for name in ("a.png", "aa.png", "b.png", "c.png")]
    assert len(predict.predict_files(workdir, chosen, tmp_path / "skipped.csv").files) == 3
    plain, skipped = table(tmp_path / "plain.csv"), table(tmp_path / "skipped.csv")
    assert [row["file"][-5:] for row in skipped] == ["a.png", "b.png", "c.png"]
    for old, new in zip(plain, skipped, strict=True):
        assert {k: v for k, v in old.items() if k != "file"} == {
            k: v for k, v in new.items() if k != "file"
        }


def test_no_folder_for_the_table_is_said_before_any_work(finished, tiny, drawn, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        predict.predict_files(finished, [str(drawn)], tmp_path / "nowhere" / "table.csv")
