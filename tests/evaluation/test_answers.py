"""What a run's probabilities say: metrics by class, calibration, intervals, tables, pictures."""

import csv
import json

import numpy as np
import pytest
import tiny
from PIL import Image

from jaxft.cli import main
from jaxft.data import joined
from jaxft.evaluation import intervals
from jaxft.evaluation.answers import answers
from jaxft.evaluation.calibration import best_temperature, bins_of, calibrate, expected_error
from jaxft.evaluation.compare import compare, read_predictions
from jaxft.report.answers.examples import examples_of
from jaxft.report.answers.files import COLUMNS, write_answers
from jaxft.runtime import csv_rows

CLASSES = ("a", "b", "c", "d")
PROBABILITIES = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],
        [0.2, 0.5, 0.2, 0.1],
        [0.6, 0.3, 0.1, 0.0],
        [0.1, 0.2, 0.4, 0.3],
        [0.3, 0.4, 0.2, 0.1],
    ]
)
LABELS = np.array([0, 1, 1, 2, 2], np.int32)


def drawn_probabilities(count, classes, spread, seed=0):
    """Random probabilities, and labels drawn from them: calibrated by construction."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=spread, size=(count, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (shares.cumsum(1) < random.random((count, 1))).sum(1)
    return shares, labels.clip(0, classes - 1), logits


# Metrics.


def test_metrics_by_class_and_rank_by_hand():
    found = answers(PROBABILITIES, LABELS, CLASSES)
    assert found["accuracy"] == 3 / 5
    assert found["top_k"] == {"3": 1.0}
    assert found["accuracy_by_class"] == {"a": 1.0, "b": 0.5, "c": 0.5}
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)
    by_class = {row.pop("class"): row for row in found["per_class"]}
    assert by_class["a"] == {
        "count": 1, "predicted": 2, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)
    }  # fmt: skip
    assert by_class["d"] == {
        "count": 0, "predicted": 0, "precision": None, "recall": None, "f1": None
    }  # fmt: skip
    assert found["confusion"] == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    pairs = [(row["true"], row["predicted"], row["count"]) for row in found["most_confused"]]
    assert pairs == [("b", "a", 1), ("c", "b", 1)]
    json.dumps(found, allow_nan=False)


# Calibration.


def test_a_bin_holds_its_examples_once():
    bins = bins_of(PROBABILITIES, LABELS)
    assert sum(one["count"] for one in bins) == len(LABELS)
    first = bins[0]  # 0.4 and 0.4
    assert (first["count"], first["confidence"], first["accuracy"]) == (2, 0.4, 0.5)
    by_hand = (2 * 0.1 + abs(0.5 - 1) + abs(0.6 - 0) + abs(0.7 - 1)) / 5
    assert expected_error(bins) == pytest.approx(by_hand)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(temperature):
    _, labels, logits = drawn_probabilities(4000, 5, 2.0)
    found = best_temperature(logits * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    raised = np.exp(logits * temperature)
    calibration = calibrate(raised / raised.sum(1, keepdims=True), labels)
    assert calibration.error_after < 0.03
    if temperature == 3.0:
        assert calibration.error > 0.1


def test_calibration_is_judged_on_examples_that_no_temperature_has_seen():
    """On labels drawn at random the fitted temperature gains on all examples, on others nothing."""
    random = np.random.default_rng(0)
    shares = random.dirichlet([1.0] * 3, 12)
    labels = random.integers(3, size=12)
    found = calibrate(shares, labels)
    fitted = np.log(shares) / found.temperature
    raised = np.exp(fitted) / np.exp(fitted).sum(1, keepdims=True)
    seen = -np.log(raised[np.arange(12), labels]).mean()
    assert found.loss_after > seen


def test_where_all_is_right_no_temperature_is_best():
    assert calibrate(np.eye(3) * 0.7 + 0.1, np.arange(3)).temperature is None


# Intervals. The coverage is simulated.


def test_wilsons_interval_is_that_of_his_paper():
    low, high = intervals.of_accuracy(90, 100)
    assert [low, high] == pytest.approx([0.8256, 0.9448], abs=1e-4)
    assert intervals.of_accuracy(5, 5).high == 1.0


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("examples", [50, 400])
def test_the_interval_of_an_accuracy_covers_it_as_often_as_it_says(accuracy, examples):
    random = np.random.default_rng(0)
    ends = {n: intervals.of_accuracy(n, examples) for n in range(examples + 1)}
    drawn = random.binomial(examples, accuracy, size=4000)
    inside = np.mean([ends[n].low <= accuracy <= ends[n].high for n in drawn])
    assert 0.92 <= inside <= 0.99


@pytest.mark.parametrize(("both", "first", "second"), [(0.8, 0.05, 0.05), (0.85, 0.02, 0.08)])
def test_the_paired_comparison_covers_and_errs_as_often_as_it_says(both, first, second):
    """200 examples, of which `both` have right, and each alone a share."""
    random, inside, significant = np.random.default_rng(0), [], []
    for _ in range(1500):
        kind = random.choice(4, size=200, p=[both, first, second, 1 - both - first - second])
        found = intervals.of_difference(kind <= 1, (kind == 0) | (kind == 2))
        inside.append(found.interval.low <= second - first <= found.interval.high)
        significant.append(found.p < 0.05)
    assert 0.93 <= np.mean(inside) <= 0.98
    if first == second:
        assert np.mean(significant) <= 0.055
    else:
        assert np.mean(significant) > 0.5


def test_the_mid_p_value_by_hand():
    assert intervals.mid_p(3, 3) == 1.0
    assert intervals.mid_p(0, 4) == pytest.approx(2 * 0.5**4 - 0.5**4)


# Files.


@pytest.fixture
def written(tmp_path):
    images = tiny.images(tiny.split(tiny.canvases(5), "valid"))
    labels = images.split.labels
    probabilities = np.eye(4)[(labels + (np.arange(5) == 2)) % 4] * 0.8 + 0.05
    scores = answers(probabilities, labels, CLASSES)
    write_answers(tmp_path / "valid", scores, probabilities, images, CLASSES)
    return tmp_path / "valid", labels, probabilities


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_tell_every_example_and_the_wrong_ones(written):
    folder, labels, probabilities = written
    every, wrong = rows(folder / "predictions.csv"), rows(folder / "wrong.csv")
    assert [row["true"] for row in every] == [CLASSES[label] for label in labels]
    assert [row["predicted"] for row in every] == [CLASSES[i] for i in probabilities.argmax(1)]
    assert wrong == [every[2]]
    assert float(wrong[0]["p_true"]) == pytest.approx(0.05)
    assert float(wrong[0]["loss"]) == pytest.approx(-np.log(0.05), rel=1e-4)
    counts = rows(folder / "confusion.csv")
    assert sum(int(row[name]) for row in counts for name in CLASSES) == len(labels)


def test_the_pictures_open(written):
    folder, *_ = written
    for name in ("most_wrong", "least_sure", "surest_right", "confusion"):
        with Image.open(folder / f"{name}.png") as picture:
            picture.load()
            assert picture.width > 100


def test_examples_are_ordered_by_how_wrong_and_how_sure_they_are():
    found = examples_of("vwxyz", CLASSES, LABELS, PROBABILITIES)
    assert found.most_wrong.tolist() == [4, 2]  # p_true 0.2, 0.3
    assert found.least_sure.tolist() == [3, 4, 1, 2, 0]
    assert found.surest_right.tolist() == [0, 1, 3]
    assert found.row(2)[:3] == ("x", "b", "a")
    assert found.row(2)[3:] == pytest.approx((0.3, 0.6, -np.log(0.3)))


def test_joined_splits_read_each_from_its_own():
    first, second = (tiny.split(tiny.canvases(n), str(n)) for n in (3, 2))
    both = joined([first, second])
    assert len(both) == 5 and both.names == first.names + second.names
    for index, (split, own) in enumerate([(first, 0), (first, 1), (first, 2), (second, 0)]):
        np.testing.assert_array_equal(both.read(index), split.read(own))


# Comparison.


def table(path, right, losses, files=None):
    path.mkdir()
    names = files or [f"{n}.png" for n in range(len(right))]
    with open(path / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "true", "predicted", "p_true", "p_predicted", "loss"])
        for name, is_right, loss in zip(names, right, losses, strict=True):
            writer.writerow([name, "a", "a" if is_right else "b", 0.5, 0.5, loss])
    return path


def test_two_runs_are_compared_example_by_example_whatever_their_order(tmp_path):
    first = table(tmp_path / "one", [1, 1] + [0] * 8, [1.0] * 10)
    names = [f"{n}.png" for n in reversed(range(10))]
    second = table(tmp_path / "two", [1] * 9 + [0], [0.5] * 10, names)
    found = compare(read_predictions(first), read_predictions(second))
    assert found.examples == 10
    assert (found.first, found.second) == (2 / 10, 9 / 10)
    assert (found.accuracy.only_first, found.accuracy.only_second) == (1, 8)
    assert found.loss == pytest.approx(-0.5)
    assert "the second is better by 70.0 points" in found.verdict


def test_names_that_are_defused_are_the_same_in_both(tmp_path):
    (tmp_path / "one").mkdir()
    with open(tmp_path / "one" / "predictions.csv", "wb") as file:
        csv_rows.fill(file, COLUMNS, [["=1.png", "a", "a", "0.5", "0.5", "-0"]])
    second = table(tmp_path / "two", [1], [0.5], ["=1.png"])
    first = read_predictions(tmp_path / "one")
    assert list(first) == ["=1.png"]
    assert compare(first, read_predictions(second)).examples == 1


def test_equal_runs_are_not_called_better(tmp_path):
    first = table(tmp_path / "one", [1, 1, 0, 1], [1.0, 0.2, 2.0, 0.4])
    second = table(tmp_path / "two", [1, 1, 1, 0], [1.1, 0.1, 0.9, 1.3])
    assert "no difference" in compare(*map(read_predictions, (first, second))).verdict


def test_runs_on_other_examples_are_refused_with_their_names(tmp_path, capsys):
    first = table(tmp_path / "one", [1, 1], [1.0, 1.0])
    second = table(tmp_path / "two", [1, 1], [1.0, 1.0], ["0.png", "other.png"])
    assert main.main(["compare", str(first), str(second)]) == 2
    told = capsys.readouterr().err
    assert "1.png" in told and "other.png" in told
    assert main.main(["compare", str(first), str(tmp_path / "none")]) == 2
    assert "holds no predictions.csv" in capsys.readouterr().err


def test_a_run_ends_with_its_answers_and_evaluate_writes_the_same(finished, tmp_path, capsys, tiny):
    summary = json.loads((finished / "summary.json").read_text())
    own = json.loads((finished / "valid" / "metrics.json").read_text())
    assert own["accuracy"] == summary["accuracy"]
    output = tmp_path / "again"
    command = ["evaluate", f"--workdir={finished}", f"--output={output}"]
    assert main.main(command) == 0
    again = json.loads((output / "metrics.json").read_text())
    assert again["confusion"] == own["confusion"]
    assert rows(output / "wrong.csv") == rows(finished / "valid" / "wrong.csv")
    assert main.main(command) == 2
    assert "is there already" in capsys.readouterr().err


def test_evaluate_takes_other_labelled_images(finished, drawn, tmp_path, capsys, tiny):
    """Classes of the folder are some of the run's, and so have other numbers there."""
    other = tmp_path / "other"
    for name in ("green", "red"):
        source = next(path for path in drawn.rglob(name) if path.is_dir())
        (other / name).mkdir(parents=True)
        for file in sorted(source.iterdir())[:2]:
            (other / name / file.name).write_bytes(file.read_bytes())
    command = ["evaluate", f"--workdir={finished}", f"--source=folder:{other}"]
    assert main.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == 4 and found["split"] == "all"
    assert set(found["accuracy_by_class"]) == {"green", "red"}
    (other / "red").rename(other / "purple")
    assert main.main(command) == 2
    assert "purple" in capsys.readouterr().err
