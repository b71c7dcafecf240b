"""A study's arms differ in the head's epochs alone, and its answer follows from their figures."""

import json

import numpy as np
import pytest
import tiny_config
from matplotlib import image

from jaxft import run
from jaxft.cli import main
from jaxft.config.plain import as_dict
from jaxft.configs import base
from jaxft.errors import Interrupted, UserError
from jaxft.report import study as report
from jaxft.training.study import arms as all_arms
from jaxft.training.study import reading, story
from jaxft.training.study.arms import Arm


def config_of(drawn, **full):
    config = tiny_config.get_config(drawn)
    config.phases[2].update(max_cycles=1, **full)
    return config


@pytest.fixture
def studied(drawn, tiny, tmp_path):
    def study(epochs=(2, 0, 1), seeds=1, train=run.train, **full):
        config = config_of(drawn, **full)
        return story.study(config, tmp_path / "study", train, epochs, seeds)

    return study


def test_the_first_arm_is_the_nearest_to_the_usual_one_and_none_is_left_out():
    found = all_arms.arms((45, 0, 5, 1, 5), (3, 4), usual=2)
    assert found[0] == Arm(1, 3)
    assert sorted(found) == [(n, seed) for n in (0, 1, 5, 45) for seed in (3, 4)]
    assert all_arms.arms((0,), (3,), usual=2) == [Arm(0, 3)]
    assert found[0].name == "head001-seed3"


def test_an_arm_has_the_first_cached_phase_and_those_of_the_body():
    plain = as_dict(base.get_config())
    plain["phases"][0].update(schedule="one_cycle", lr=0.1)
    plain["drift_images"] = 0
    made = all_arms.config_of(Arm(5, 3), plain, 0, [2])
    assert [phase["name"] for phase in made["phases"]] == ["head_cached", "full"]
    assert made["phases"][0]["epochs"] == 5 and made["phases"][0]["schedule"] == "constant"
    assert made["phases"][1] == plain["phases"][2]
    assert made["seed"] == 3 and made["drift_images"] > 0
    assert plain["phases"][0]["schedule"] == "one_cycle", "the user's config has changed"
    none = all_arms.config_of(Arm(0, 3), plain, 0, [2])
    assert [phase["name"] for phase in none["phases"]] == ["full"]


def test_rates_are_set_by_phase_and_the_first_phase_has_none_before_it():
    plain = as_dict(base.get_config())
    plain["phases"][2]["lr"] = "previous"
    none = all_arms.config_of(Arm(0, 3), plain, 0, [2])
    assert none["phases"][0]["lr"] == "find"
    assert all_arms.with_rates(none, {"full": 0.25})["phases"][0]["lr"] == 0.25
    assert none["phases"][0]["lr"] == "find"


@pytest.mark.slow
def test_arms_of_a_seed_begin_with_the_same_training_of_the_head(studied, tmp_path):
    result = studied()
    runs = tmp_path / "study" / "runs"
    rows = {n: read_rows(runs / f"head00{n}-seed0" / "metrics.jsonl") for n in (0, 1, 2)}
    assert [len(rows[n]) for n in (0, 1, 2)] == [1, 2, 3]
    for key in ("trn_loss", "val_loss", "accuracy", "lr"):
        assert rows[1][0][key] == rows[2][0][key]
    rates = [[row["lr"]["head"] for row in rows[n] if row["phase"] == "full"] for n in rows]
    assert rates[0] == rates[1] == rates[2] == [result["rates"]["full"]]
    assert json.loads((tmp_path / "study/study.json").read_text()) == result
    assert [arm["head_epochs"] for arm in result["arms"]] == [0, 1, 2]
    assert [run["head_trn_loss"] for run in result["runs"] if run["head_epochs"] == 0] == [None]
    assert result["arms"][0]["cka_late"] < 1
    assert image.imread(tmp_path / "study/study.png").shape[:2] == (770, 1430)


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Made:
    """A `train` that makes runs up, and counts them; the run of `dies_at` is interrupted."""

    def __init__(self, dies_at=None):
        self.configs, self.dies_at = [], dies_at

    def __call__(self, plain, workdir, console):
        if len(self.configs) == self.dies_at:
            raise Interrupted
        self.configs.append(plain)
        workdir.mkdir(parents=True, exist_ok=True)
        phases = [self.phase(phase["name"], plain["seed"]) for phase in plain["phases"]]
        summary = {"accuracy": 0.9, "val_loss": 0.3, "seconds": 9.0, "phases": phases}
        rows = [{"phase": phase["name"], "trn_loss": 0.5} for phase in plain["phases"]]
        rows[-1] |= {"accuracy": 0.9, "first_trn_loss": 0.6}
        (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (workdir / "summary.json").write_text(json.dumps(summary))
        (workdir / "valid").mkdir(exist_ok=True)
        scores = {"calibration": {"error": 0.05}}
        (workdir / "valid/metrics.json").write_text(json.dumps(scores))
        return summary

    def phase(self, name, seed):
        row = {
            **{"valid_images": 40, "accuracy": 0.8, "val_loss": 0.5, "calibration_error": 0.1},
            **{"old_head": {"accuracy": 0.7}, "refitted_accuracy": 0.75},
            **{"cka": {"early": 0.9, "late": None}, "cosine": {"early": 0.9, "late": 0.8}},
            **{"head_norm": 5.0, "gradient_norm": 1.0},
        }
        return {
            "name": name,
            "lr": 0.01 + seed,
            **({"drift": [row, row]} if name == "full" else {}),
        }


def test_the_pilots_rates_are_everyones_and_an_interrupted_study_goes_on(studied, tmp_path):
    train = Made(dies_at=2)
    with pytest.raises(Interrupted):
        studied((0, 2), 2, train)
    assert not (tmp_path / "study/study.json").exists()
    train.dies_at = None
    result = studied((0, 2), 2, train)
    assert [phase["lr"] for phase in train.configs[0]["phases"]] == ["find", "find"]
    assert {phase["lr"] for plain in train.configs[3:] for phase in plain["phases"]} == {0.01}
    assert result["rates"] == {"head_cached": 0.01, "full": 0.01}
    assert result["validation_examples"] == 40
    assert "cka_late" not in result["arms"][0], "it is not known"


def test_a_study_of_other_settings_is_refused_once_a_run_has_begun(studied, tmp_path):
    with pytest.raises(Interrupted):
        studied((0, 2), 1, Made(dies_at=0))
    studied((1, 2), 1, Made())  # none has begun
    with pytest.raises(UserError, match="holds a study of other settings") as caught:
        studied((1, 3), 2, Made())
    assert len(caught.value.offenders) == 2
    (tmp_path / "study/request.json").unlink()
    with pytest.raises(UserError, match="something else than a study"):
        studied((1, 2), 1, Made())


def test_a_config_without_a_head_or_a_body_to_train_is_refused(drawn, tiny, tmp_path):
    config = config_of(drawn)
    config.phases = config.phases[1:2]
    config.phases[0].lr = 0.1
    with pytest.raises(UserError) as caught:
        story.study(config, tmp_path / "study", Made(), (1,), 1)
    assert len(caught.value.offenders) == 2 and not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--head-epochs=1,x"], "should be whole numbers between commas"),
        (["--head-epochs=-1"], "should be whole numbers between commas"),
        (["--seeds=0"], "is not a whole number of 1 or more"),
    ],
)
def test_wrong_flags_are_refused(flags, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(["study", "--config=quickstart", f"--workdir={tmp_path}/s", *flags])
    assert caught.value.code == 2 and words in capsys.readouterr().err


def test_too_many_epochs_are_refused(drawn, tiny, tmp_path):
    with pytest.raises(UserError) as caught:
        story.study(config_of(drawn), tmp_path / "study", Made(), (1, 20000), 1)
    assert "more than 10000 epochs" in caught.value.offenders[0]


def runs(accuracies, losses=None):
    """Figures of runs: epochs of the head -> accuracy of each seed; and of the head's loss."""
    noise = [0.0, 0.01, -0.01]
    return [
        {
            **{"head_epochs": epochs, "seed": seed, "valid_images": 100, "accuracy": accuracy},
            **{"val_loss": 1 - accuracy, "head_accuracy": 0.5, "cka_late": 0.5},
            "head_val_loss": (losses or {}).get(epochs, 0.7) + noise[(seed + epochs) % 3],
            "head_trn_loss": None,
        }
        for epochs, each in accuracies.items()
        for seed, accuracy in enumerate(each)
    ]


def answered(accuracies, losses=None):
    found = runs(accuracies, losses)
    return report.answer({"arms": reading.by_epochs(found), "runs": found})


def test_errors_are_those_of_means_and_differences_are_tukeys_in_blocks_of_seeds():
    arms = reading.by_epochs(runs({1: [0.5, 0.6, 0.7], 5: [0.61, 0.7, 0.79]}))
    assert arms[0]["accuracy"] == pytest.approx(0.6)
    assert arms[0]["accuracy_se"] == pytest.approx(0.1 / np.sqrt(3))
    assert arms[1]["best"] and not arms[0]["best"]
    assert arms[0]["difference"] == pytest.approx(-0.1)
    # Of two arms it is the paired t-test.
    assert arms[0]["half_width"] == pytest.approx(4.3027 * 0.01 / np.sqrt(3), rel=1e-3)
    assert "head_trn_loss" not in arms[0]


def test_tukeys_margin_lets_one_study_of_twenty_find_what_is_not_there():
    random, found = np.random.default_rng(0), []
    for _ in range(400):
        values = random.normal(size=(6, 1, 3)) * 0.01 + random.normal(size=3)
        rows = runs({epochs: values[epochs, 0] for epochs in range(6)})
        arms = reading.by_epochs(rows)
        found.append(any(arm["difference"] + arm["half_width"] < 0 for arm in arms))
    assert 0.02 < np.mean(found) < 0.08


def test_a_single_seed_has_no_error():
    arms = reading.by_epochs(runs({1: [0.5], 5: [0.6]}))
    assert arms[0]["accuracy_se"] is None and arms[0]["half_width"] is None
    assert report.answer({"arms": arms, "runs": []}).startswith(
        "Runs end best after 5 epochs of the head (accuracy 0.6000). CKA of"
    )


def test_of_equal_arms_the_one_of_the_least_loss_is_the_best():
    found = runs({1: [0.5, 0.6], 5: [0.6, 0.5]})
    found[0]["val_loss"] = 0.1
    assert [arm["best"] for arm in reading.by_epochs(found)] == [True, False]


def test_the_answer_names_what_is_worse_beyond_doubt_and_what_may_be_as_good():
    told = answered({0: [0.5, 0.51, 0.49], 2: [0.9, 0.91, 0.92], 5: [0.9, 0.92, 0.91]})
    assert "0 is worse beyond doubt; 5 may be as good." in told
    alike = answered({0: [0.9, 0.8, 0.85], 2: [0.8, 0.91, 0.86]})
    assert "it makes no measurable difference" in alike


def test_the_answer_says_if_over_fitting_the_head_costs_anything():
    losses = {2: 0.7, 5: 0.9, 45: 1.5}
    free = answered({2: [0.9, 0.91, 0.89], 5: [0.91, 0.9, 0.9], 45: [0.9, 0.9, 0.91]}, losses)
    assert "After 5 and 45 the head alone has over-fitted, which costs nothing" in free
    dear = answered({2: [0.9, 0.91, 0.92], 5: [0.9, 0.92, 0.91], 45: [0.8, 0.81, 0.82]}, losses)
    assert "has over-fitted, which costs accuracy in the end: 0.1000 after 45." in dear
    assert "over-fits at none" in answered({2: [0.9, 0.91, 0.92], 5: [0.9, 0.91, 0.92]})
    wild = [0.9, 0.91, 0.92]  # the untrained head's losses say nothing of the trained ones' noise
    untrained = runs({n: wild for n in (0, 2, 45)}, {0: 4.0, 2: 0.7, 45: 1.0})
    for seed, row in enumerate(row for row in untrained if row["head_epochs"] == 0):
        row["head_val_loss"] += seed
    assert [arm["over_fitted"] for arm in reading.by_epochs(untrained)] == [False, False, True]
    falling = {2: 1.5, 5: 0.9, 45: 0.7}
    assert "over-fits at none" in answered({n: [0.9, 0.91, 0.92] for n in falling}, falling)
