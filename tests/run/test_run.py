"""Runs: the files they leave, resumption, and settings that change nothing."""

import io
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny_config
from matplotlib import image
from same_end import assert_same_end
from stopping import told_to_stop
from tiny import PREPROCESSING
from unfold import unfolded

import jaxft
from jaxft import run
from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.devices import sharding
from jaxft.errors import Interrupted, NonFiniteError, UserError
from jaxft.evaluation import metrics
from jaxft.evaluation.evaluate import evaluate
from jaxft.materials import identity, opening
from jaxft.materials.data import open_data
from jaxft.materials.model import create_model, open_model
from jaxft.materials.opening import check_batch_size, validated_before
from jaxft.materials.start_up import start_up
from jaxft.runtime import digests
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.training import ending, loop, rate_of_phase, step_losses
from jaxft.training.drift import Drift
from jaxft.training.loop import evaluate_weights
from jaxft.workdir import checkpoint
from jaxft.workdir.rows import read_object
from jaxft.workdir.snapshot import unpack

METRICS = [
    "phase",
    "cycle",
    "epoch",
    "step",
    "global_step",
    "trn_loss",
    "first_trn_loss",
    "val_loss",
    "accuracy",
    "lr",
    "images_per_second",
    "seconds",
    "input_wait",
    "best",
]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def final_digest(workdir):
    return digests.digest(checkpoint.read_newest(workdir).best)


def head_only(drawn, **phase):
    """A config of one short phase on the cached features."""
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[:1]
    config.phases[0].update(phase)
    return config


def test_metrics_have_a_row_for_every_epoch_and_exactly_these_keys(finished):
    table = rows(finished / "metrics.jsonl")
    assert [list(row) for row in table] == [METRICS] * 7
    assert [(row["phase"], row["cycle"], row["epoch"]) for row in table] == [
        ("head_cached", 0, 0),
        ("head_cached", 0, 1),
        ("head_augmented", 0, 0),
        ("head_augmented", 1, 1),
        ("full", 0, 0),
        ("full", 1, 1),
        ("full", 1, 2),
    ]
    assert [row["step"] for row in table] == [3, 6, 3, 6, 3, 6, 9]
    assert [row["global_step"] for row in table] == [3, 6, 9, 12, 15, 18, 21]
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["input_wait"] <= 1 for row in table)


def test_first_losses_are_those_of_an_epochs_first_steps(drawn, tiny, tmp_path, monkeypatch):
    losses: list[float] = []  # of three steps and of validation, epoch by epoch
    monkeypatch.setattr(step_losses, "demand_finite", lambda step, loss: losses.append(loss))
    monkeypatch.setattr(step_losses, "FIRST_STEPS", 2)
    run.train(head_only(drawn, lr=0.01, epochs=2), tmp_path / "run")
    found = [row["first_trn_loss"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert found == [pytest.approx(sum(losses[at : at + 2]) / 2) for at in (0, 4)]


def test_lr_of_a_row_is_the_epochs_highest_by_trained_group(finished):
    table = rows(finished / "metrics.jsonl")
    found = [json.loads((finished / "summary.json").read_text())["phases"][i]["lr"] for i in (0, 2)]
    assert table[0]["lr"] == {"head": pytest.approx(found[0])}
    full = found[1]
    wanted = {"early": 0.1 * full, "late": 0.3 * full, "head": full}
    assert table[4]["lr"] == pytest.approx(wanted)
    half = {group: rate / 2 for group, rate in wanted.items()}
    assert table[6]["lr"] == pytest.approx(half)  # the second half of a cosine of 6 steps


def test_the_summary_has_exactly_these_keys(finished):
    summary = json.loads((finished / "summary.json").read_text())
    top = ["accuracy", "val_loss", "seconds", "saving_seconds", "ended_by", "best", "best_by"]
    top += ["baselines", "advice", "bottleneck", "phases", "contents_sha256"]
    assert list(summary) == top
    assert [phase["name"] for phase in summary["phases"]] == [
        "head_cached",
        "head_augmented",
        "full",
    ]
    keys = {"name", "lr", "lr_rule", "epochs", "cycles", "val_loss", "accuracy", "ended_by"}
    for phase in summary["phases"]:
        assert keys | {"seconds"} <= phase.keys()
        assert phase["seconds"].keys() == {"compile", "input_wait", "compute", "total"}
    assert [phase["ended_by"] for phase in summary["phases"]] == ["epochs", "epochs", "max_cycles"]
    assert summary["ended_by"] == "max_cycles"


def test_drift_is_measured_at_the_unfreezing_and_at_the_end_of_each_cycle(finished):
    head, _, full = json.loads((finished / "summary.json").read_text())["phases"]
    assert "drift" not in head
    assert [row["epoch"] for row in full["drift"]] == [0, 1, 3]
    start, *later = full["drift"]
    assert start["cka"] == {"early": pytest.approx(1), "late": pytest.approx(1)}
    assert start["old_head"]["accuracy"] == start["accuracy"]
    before = [row for row in rows(finished / "metrics.jsonl") if row["phase"] != "full"]
    assert start["least_loss"] == min(row["val_loss"] for row in before)
    table = [row for row in rows(finished / "metrics.jsonl") if row["phase"] == "full"]
    assert later[-1]["val_loss"] == table[-1]["val_loss"]
    assert all(row["cosine"]["early"] < 1 for row in later)
    assert (finished / "drift" / "full.npz").is_file()


@pytest.mark.slow
def test_a_stop_while_drift_is_measured_repeats_no_step(
    finished, drawn, tiny, tmp_path, monkeypatch
):
    measure, calls = Drift.measure, []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 2:  # the first is at the unfreezing
            raise Interrupted
        return measure(*given)

    monkeypatch.setattr(Drift, "measure", interrupted)
    workdir = tmp_path / "run"
    with pytest.raises(Interrupted):
        run.train(tiny_config.get_config(drawn), workdir)
    run.train(tiny_config.get_config(drawn), workdir)
    first, second = rows(workdir / "starts.jsonl")
    assert first["to_step"] == second["from_step"] > 0
    assert_same_end(workdir, finished)


def best_of(table):
    return max(table, key=lambda row: (row["accuracy"], -row["val_loss"]))


def test_the_summary_is_of_the_runs_best_epoch(finished):
    table = rows(finished / "metrics.jsonl")
    summary = json.loads((finished / "summary.json").read_text())
    whole = best_of(table)
    kept = {key: whole[key] for key in ("phase", "epoch", "trn_loss", "val_loss", "accuracy")}
    assert summary["best"] == {**kept, "image_size": 32} and summary["best_by"] == "accuracy"
    assert (summary["val_loss"], summary["accuracy"]) == (whole["val_loss"], whole["accuracy"])
    for phase in summary["phases"]:
        found = best_of([row for row in table if row["phase"] == phase["name"]])
        assert (phase["best_epoch"], phase["accuracy"]) == (found["epoch"], found["accuracy"])
    so_far = [row == best_of(table[: i + 1]) for i, row in enumerate(table)]
    assert [row["best"] for row in table] == so_far


def test_the_best_may_lie_in_the_middle_of_an_earlier_phase(drawn, tiny, tmp_path, monkeypatch):
    """The first epoch is made the best: its weights are kept, the phases go on from their last."""
    score, seen = evaluate_weights, []

    def losing(materials, weights, features=None):
        found = score(materials, weights, features)
        seen.append(sharding.fetch(weights))
        return replace(found, losses=found.losses + len(seen))

    config = tiny_config.get_config(drawn)
    config.best_by, config.phases = "val_loss", config.phases[:2]
    for phase in config.phases:
        phase.lr = 0.01
    told = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_weights", losing)
        patch.setattr(ending, "evaluate_weights", None)  # the epoch itself has answered
        summary = run.train(config, tmp_path / "run", Console(told))
    assert (summary["best"]["phase"], summary["best"]["epoch"]) == ("head_cached", 0)
    assert "(head_cached, epoch 0, the best by val_loss)" in unfolded(told.getvalue())
    saved = checkpoint.read_newest(tmp_path / "run")
    assert digests.digest(saved.best["params"]) == digests.digest(seen[0].params)
    assert digests.digest(saved.state["params"]) == digests.digest(seen[-1].params)
    found = evaluate(tmp_path / "run").scores
    assert found["loss"] + 1 == pytest.approx(summary["val_loss"], rel=1e-5)
    answers = json.loads((tmp_path / "run" / "valid" / "metrics.json").read_text())
    assert answers["loss"] == pytest.approx(found["loss"], rel=1e-6)


def test_the_seconds_of_phases_add_up(finished):
    summary = json.loads((finished / "summary.json").read_text())
    totals = [phase["seconds"]["total"] for phase in summary["phases"]]
    (start,) = rows(finished / "starts.jsonl")
    wall = (finished / "summary.json").stat().st_mtime - start["time"]
    assert sum(totals) < wall + 1
    assert summary["seconds"] > sum(totals), "opening data and model takes time too"
    table = rows(finished / "metrics.jsonl")
    for phase in summary["phases"]:
        parts = phase["seconds"]
        assert all(0 <= seconds <= parts["total"] for seconds in parts.values())
        epochs = [row["seconds"] for row in table if row["phase"] == phase["name"]]
        assert 0 < sum(epochs) <= parts["total"], "the range test takes time too"


def test_a_run_that_finishes_leaves_a_page(finished):
    told = (finished / "report.html").read_text()
    best = json.loads((finished / "summary.json").read_text())["best"]
    assert f"{best['phase']}, epoch {best['epoch']}" in told


def test_starts_config_classes_and_preprocessing(finished, drawn):
    (start,) = rows(finished / "starts.jsonl")
    assert (start["from_step"], start["to_step"], start["ended_by"]) == (0, 21, "max_cycles")
    assert start["devices"]["count"] == jax.device_count()
    assert start["versions"]["jaxft"] == jaxft.__version__
    assert json.loads((finished / "classes.json").read_text()) == ["blue", "green", "red"]
    config = json.loads((finished / "config.json").read_text())
    assert config["data"]["source"] == f"folder:{drawn}"
    assert config["phases"][2]["groups"] == {"early": 0.1, "late": 0.3, "head": 1.0}
    preprocessing = json.loads((finished / "preprocessing.json").read_text())
    assert preprocessing == {
        "mean": list(PREPROCESSING.mean),
        "std": list(PREPROCESSING.std),
        "image_size": 32,
        "crop_fraction": 1.0,
        "interpolation": "bilinear",
        "fit": "crop",
    }
    assert config["data"]["interpolation"] == "bilinear", "settled, so that predict does the same"


def test_the_summary_has_simple_classifiers_on_the_same_features(finished):
    simple = json.loads((finished / "summary.json").read_text())["baselines"]
    assert simple.keys() == {"logistic_regression", "nearest_neighbours"}
    assert all(0.2 < accuracy <= 1 for accuracy in simple.values())


def test_finder_files_and_pictures(finished):
    assert sorted(path.name for path in finished.glob("*.png")) == ["losses.png", "rates.png"]
    names = sorted(path.name for path in (finished / "lr_find").iterdir())
    assert names == ["full.json", "full.png", "head_cached.json", "head_cached.png"]
    summary = json.loads((finished / "summary.json").read_text())
    for index, name in ((0, "head_cached"), (2, "full")):
        curve = json.loads((finished / "lr_find" / f"{name}.json").read_text())
        assert curve["lr"] == summary["phases"][index]["lr"]
        assert curve["rule"] == summary["phases"][index]["lr_rule"]
        assert len(curve["rates"]) == len(curve["losses"]) == len(curve["trend"])
    for picture in (*finished.glob("*.png"), *(finished / "lr_find").glob("*.png")):
        assert min(image.imread(picture).shape[:2]) > 200


@pytest.mark.slow
def test_lr_find_changes_nothing(finished, drawn, tiny, tmp_path):
    summary = json.loads((finished / "summary.json").read_text())
    config = tiny_config.get_config(drawn)
    for phase, told in zip(config.phases, summary["phases"], strict=True):
        phase.lr = told["lr"]
    again = run.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "lr_find").exists()
    assert [phase["lr_rule"] for phase in again["phases"]] == ["config"] * 3
    assert final_digest(tmp_path / "run") == final_digest(finished)
    whole = json.loads((finished / "summary.json").read_text())
    assert [p.get("drift") for p in summary["phases"]] == [p.get("drift") for p in whole["phases"]]


def test_find_rate_finds_what_the_run_found(finished, drawn, tiny, tmp_path):
    curve = rate_of_phase.find_rate(tiny_config.get_config(drawn), tmp_path / "run", "head_cached")
    told = json.loads((finished / "lr_find" / "head_cached.json").read_text())
    assert curve["lr"] == told["lr"]
    assert curve["losses"] == told["losses"]


def test_find_rate_names_the_phases_there_are(drawn, tiny, tmp_path):
    with pytest.raises(UserError, match="head_cached, head_augmented, full"):
        rate_of_phase.find_rate(tiny_config.get_config(drawn), tmp_path / "run", "ful")


def test_a_finished_run_is_not_run_again(finished, drawn, tiny, monkeypatch):
    monkeypatch.setattr(opening, "prepare", None)
    summary = run.train(tiny_config.get_config(drawn), finished)
    assert summary == read_object(finished / "summary.json")


@pytest.mark.slow
@pytest.mark.parametrize("phase, step", [(0, 4), (1, 2), (2, 4)])
def test_an_interrupted_run_goes_on_to_the_same_end(
    phase, step, finished, drawn, tiny, tmp_path, monkeypatch
):
    """Told to stop at a step, in the cached, the augmented and the full phase."""

    def rows_of(folder):
        return rows(folder / "run" / "metrics.jsonl")

    with told_to_stop(monkeypatch, step, lambda: len(rows_of(tmp_path)) >= 2 * phase):
        run.train(tiny_config.get_config(drawn), tmp_path / "run")
    told = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert told["ended_by"] == "interrupted" and len(told["phases"]) == phase
    finder = tmp_path / "run" / "lr_find" / "head_cached.json"
    found_at = finder.stat().st_mtime_ns

    summary = run.train(tiny_config.get_config(drawn), tmp_path / "run")

    assert finder.stat().st_mtime_ns == found_at, "a finished range test was repeated"
    table = rows_of(tmp_path)
    strip = [{k: row[k] for k in METRICS[:10]} for row in table]
    assert strip == [{k: row[k] for k in METRICS[:10]} for row in rows(finished / "metrics.jsonl")]
    assert summary["ended_by"] == "max_cycles"
    starts = rows(tmp_path / "run" / "starts.jsonl")
    assert [start["ended_by"] for start in starts] == ["interrupted", "max_cycles"]
    assert starts[0]["to_step"] == starts[1]["from_step"] > 0
    assert final_digest(tmp_path / "run") == final_digest(finished)


def test_an_interrupted_run_goes_on_with_the_average_and_the_start_of_its_weights(
    drawn, tiny, tmp_path, monkeypatch
):
    config = head_only(drawn, lr=0.1)
    config.optimizer.update(ema_decay=0.9, weight_decay=0.1, decay_towards="start")
    run.train(config, tmp_path / "whole")
    with told_to_stop(monkeypatch, 4):
        run.train(config, tmp_path / "run")
    midway = checkpoint.read(tmp_path / "run" / "checkpoints" / "1")
    end = checkpoint.read_newest(tmp_path / "whole")
    run.train(config, tmp_path / "run")
    assert digests.digest(midway.best) != digests.digest(end.best), "both should be the best"
    for tree, average in ((midway.best, midway.state["average"]), (end.state, end.best)):
        found, wanted = (
            [item.get(kind, {}).get("head", {}) for kind in ("params", "batch_stats")]
            for item in (tree, average)
        )
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    raw = midway.state["params"]["head"]
    assert digests.digest(raw) != digests.digest(midway.state["average"]["params"]["head"])
    last = unpack(midway).last
    np.testing.assert_equal(last.params["head"], midway.best["params"]["head"])
    ends = [checkpoint.read_newest(tmp_path / name) for name in ("run", "whole")]
    assert digests.digest(ends[0].best) == digests.digest(ends[1].best)
    assert digests.digest(ends[0].state) == digests.digest(ends[1].state)


def test_a_loss_that_is_not_finite_ends_the_run_with_a_word(drawn, tiny, tmp_path):
    config = head_only(drawn, lr=1e30)
    with pytest.raises(NonFiniteError, match="at step"):
        run.train(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ended_by"] == "nonfinite"
    (start,) = rows(tmp_path / "run" / "starts.jsonl")
    assert start["ended_by"] == "nonfinite"


def test_init_from_a_run_of_the_same_classes_takes_the_head_too(finished, drawn, tiny):
    config = tiny_config.get_config(drawn)
    config.init_from = str(finished)
    settings = load.read(config)
    weights = open_model(settings, ("blue", "green", "red")).weights
    best = unpack(checkpoint.read_newest(finished)).best.weights
    assert digests.digest(weights._asdict()) == digests.digest(best._asdict())


@pytest.fixture
def warning(finished, drawn, tiny, tmp_path):
    """Lines that a run tells on a changed copy of the data that begins with finished weights."""

    def tell(change, about=None):
        workdir = shutil.copytree(finished, tmp_path / "before")
        if about is not None:
            (workdir / "data.json").write_text(about)
        change(shutil.copytree(drawn, tmp_path / "somewhere" / "else"))
        config = tiny_config.get_config(tmp_path / "somewhere" / "else")
        config.init_from = str(workdir)
        settings = load.read(config)
        return validated_before(settings, open_data(settings))

    return tell


def add(folder, count):
    for number in range(count):
        shutil.copy(folder / "02.png", folder / f"0{number}_new.png")


class TestImagesThatTheRunBeforeWasTrainedOn:
    def test_the_same_ones_elsewhere_validate_as_they_did(self, warning):
        assert warning(lambda data: None) == ""

    def test_more_images(self, warning):
        assert "of the images that" in warning(lambda data: add(data / "blue", 9))

    def test_one_more_class(self, warning):
        assert "of the images that" in warning(
            lambda data: shutil.copytree(data / "blue", data / "a")
        )

    def test_other_names(self, warning):
        def rename(data):
            for file in data.glob("*/*.png"):
                file.rename(file.with_name(f"photo{file.name}"))

        assert warning(rename) == ""

    def test_the_same_names_in_other_classes(self, warning):
        def rename(data):
            for folder in sorted(data.iterdir()):
                folder.rename(folder.with_name(f"dark {folder.name}"))

        assert warning(rename) == ""

    @pytest.mark.parametrize(
        "about",
        ["", "[]", "3", "null", "{}", '{"train_sample": 3}', '{"train_sample": [{}]}', "[" * 10**5],
    )
    def test_a_run_that_left_no_sample(self, warning, about):
        assert warning(lambda data: add(data / "blue", 9), about) == ""


def test_a_run_tells_of_other_files_and_of_validation_images_seen_before(
    finished, drawn, tiny, tmp_path
):
    grown = shutil.copytree(drawn, tmp_path / "grown")
    add(grown / "blue", 9)
    (grown / "red" / "layers.psd").write_bytes(b"x")
    config = tiny_config.get_config(grown)
    config.init_from = str(finished)
    told = io.StringIO()
    opening.prepare(start_up(config)[0], Console(told))
    assert "left out: 1 file without an image's suffix (1 .psd)" in unfolded(told.getvalue())
    assert f"of the images that {finished} was trained on are validation images now" in unfolded(
        told.getvalue()
    )


def test_init_from_a_run_of_other_classes_takes_the_body(finished, drawn, tiny, tmp_path):
    config = head_only(drawn, lr=0.1, epochs=1)
    config.init_from = str(finished)
    weights = open_model(load.read(config), ("a", "b")).weights
    best = unpack(checkpoint.read_newest(finished)).best.weights
    for kind in ("params", "batch_stats"):
        new, old = getattr(weights, kind), getattr(best, kind)
        assert digests.digest(new["early"]) == digests.digest(old["early"])
        assert digests.digest(new["late"]) == digests.digest(old["late"])
    assert weights.params["head"]["linear1"]["kernel"].shape == (8, 2)


def test_the_config_says_how_convolutions_are_lowered():
    config = load.read(load_config("quickstart"))
    config = replace(config, model=replace(config.model, conv="native"))
    assert create_model(config, 3).body.conv == "native"


def test_weights_of_another_run_are_fed_as_they_were_there(
    finished, drawn, tiny, unsealed, tmp_path
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    facts = json.loads((workdir / "preprocessing.json").read_text())
    facts |= {"mean": [1.0, 2.0, 3.0], "image_size": 40, "interpolation": "bicubic"}
    (workdir / "preprocessing.json").write_text(json.dumps(facts))
    config = tiny_config.get_config(drawn)
    config.init_from, config.data.image_size = str(workdir), 0
    settings, plain = start_up(config)
    assert plain["data"]["image_size"] == 40
    told = io.StringIO()
    materials, _ = opening.prepare(settings, Console(told))
    assert "in 3 classes, at 40 px, bicubic; tiny on" in unfolded(told.getvalue())
    assert materials.model.preprocessing.mean == (1.0, 2.0, 3.0)
    assert materials.train_images.sizing.interpolation == "bicubic"
    assert materials.valid_images.shorter_side == 44


@pytest.mark.slow
def test_a_new_head_is_the_one_that_a_whole_new_model_would_have(drawn, tiny):
    config = tiny_config.get_config(drawn)
    settings = load.read(config)
    model, whole, _ = open_model(settings, ("a", "b"))
    alone = model.init_head(jax.random.key(settings.seed))
    for new, old in zip(alone, (whole.params, whole.batch_stats), strict=True):
        assert digests.digest(new) == digests.digest(old["head"])


def test_best_weights_are_whole_before_the_first_cycle_end(drawn, tiny, tmp_path, monkeypatch):
    """A run stopped in its first phase can be restored, with the body as it began."""
    stop = Stop()
    monkeypatch.setattr(run, "told_to_stop", lambda: nullcontext(stop))
    monkeypatch.setattr(step_losses, "demand_finite", lambda number, loss: stop.set())
    with pytest.raises(Interrupted):
        run.train(head_only(drawn, lr=0.1), tmp_path / "run")
    restored = jaxft.restore(tmp_path / "run", "best")
    assert np.isfinite(restored.apply(np.zeros((1, 32, 32, 3), np.uint8))).all()


def test_changed_data_are_refused_and_nothing_is_written(finished, drawn, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    photos = shutil.copytree(drawn, tmp_path / "photos")
    config = tiny_config.get_config(drawn)
    materials, _ = opening.prepare(start_up(config)[0], Console(None))
    identity.describe(workdir, config, materials)
    split = materials.dataset.train
    fewer = materials._replace(dataset=materials.dataset.with_splits(split.select([0, 1]), split))
    before = (workdir / "data.json").read_text()
    with pytest.raises(UserError, match="have changed") as error:
        identity.describe(workdir, config, fewer)
    assert any(line.startswith("train: 29 then, 2 now") for line in error.value.offenders)
    assert (workdir / "data.json").read_text() == before and photos.is_dir()


def test_a_workdir_whose_checkpoints_are_all_damaged_keeps_them(finished, drawn, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "summary.json").unlink()
    steps = checkpoint.steps(workdir)
    for number in steps:
        for file in (workdir / "checkpoints" / str(number) / "cursor").iterdir():
            file.write_bytes(b"")
    with pytest.raises(UserError, match="No checkpoint in"):
        run.train(tiny_config.get_config(drawn), workdir)
    assert checkpoint.steps(workdir) == steps


def test_a_validation_loss_that_is_no_number_ends_the_run(drawn, tiny, tmp_path, monkeypatch):
    score = metrics.score

    def no_number(*arguments):
        found = score(*arguments)
        return metrics.Evaluation(found.losses * np.nan, found.probabilities, found.labels)

    monkeypatch.setattr(metrics, "score", no_number)
    with pytest.raises(NonFiniteError):
        run.train(head_only(drawn, lr=0.1), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ended_by"] == "nonfinite"


def test_mixing_wants_pairs_on_every_device(drawn, tiny):
    plain = as_dict(tiny_config.get_config(drawn))
    plain["augment"]["mixup_alpha"] = 0.4
    settings = load.from_dict(plain)
    check_batch_size(settings, 29, 4)
    with pytest.raises(UserError) as caught:
        check_batch_size(settings, 29, 8)  # one of the batch's eight images on each
    # Of the phases that see images; the cached one mixes nothing.
    assert len(caught.value.offenders) == 2
    assert "head_augmented" in caught.value.offenders[0] and "full" in caught.value.offenders[1]
    plain["augment"]["mix_probability"] = 0.0
    check_batch_size(load.from_dict(plain), 29, 8)


def test_files_that_were_changed_are_refused_by_readers_and_written_anew(
    finished, drawn, tiny, tmp_path
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    files = {name: (workdir / name).read_text() for name in ("classes.json", "preprocessing.json")}
    (workdir / "classes.json").write_text(files["classes.json"].replace("blue", "blve"))
    (workdir / "preprocessing.json").write_text(
        files["preprocessing.json"].replace("127.0", "12.0")
    )
    with pytest.raises(UserError, match="were changed since the run began") as error:
        jaxft.restore(workdir)
    assert set(error.value.offenders) == {
        "classes.json [0]: 'blue' then, 'blve' now",
        "preprocessing.json mean[0]: 127.0 then, 12.0 now",
    }
    config = head_only(drawn, lr=0.1)
    config.init_from = str(workdir)
    with pytest.raises(UserError, match="were changed since the run began"):
        opening.prepare(start_up(config)[0], Console(None))
    stream = io.StringIO()
    settings, config = start_up(tiny_config.get_config(drawn))
    materials, _ = opening.prepare(settings, Console(stream))
    identity.describe(workdir, config, materials)
    assert "'blve' now; it is written anew" in unfolded(stream.getvalue())
    assert {name: (workdir / name).read_text() for name in files} == files
    jaxft.restore(workdir)
