"""Runs that keep their cycle ends: the same training, and an average in the end if it wins."""

import io
import json
import shutil

import pytest
import tiny_config
from stopping import told_to_stop
from unfold import unfolded

from jaxft import run
from jaxft.config import load
from jaxft.errors import UserError
from jaxft.evaluation import beside
from jaxft.evaluation.evaluate import evaluate
from jaxft.runtime import digests
from jaxft.runtime.console import Console
from jaxft.training import averaging
from jaxft.workdir import checkpoint, same_config

CLOCKS = ("images_per_second", "seconds", "input_wait")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def final_digest(workdir):
    return digests.digest(checkpoint.read_newest(workdir).best)


def keeping(drawn, ends=2):
    config = tiny_config.get_config(drawn)
    config.average_cycles = ends
    return config


def trained(config, workdir):
    """Its summary, and what it told."""
    told = io.StringIO()
    return run.train(config, workdir, Console(told)), unfolded(told.getvalue())


def contents(workdir):
    return {file.name: file.read_bytes() for file in (workdir / "cycles").iterdir()}


def measured(workdir):
    """The rows of metrics.jsonl, without what a clock decides."""
    table = rows(workdir / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in table]


@pytest.fixture(scope="module")
def won(tmp_path_factory, drawn, cache_home, no_baselines):
    """The workdir of a run whose averages win, whatever they are, and what it told."""
    import tiny_body

    from jaxft.models.registry import BODIES

    workdir = tmp_path_factory.mktemp("won") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        patch.setattr(beside, "wins", lambda found, other: True)
        _, told = trained(keeping(drawn), workdir)
    return workdir, told


@pytest.fixture
def copy(won, tmp_path):
    return shutil.copytree(won[0], tmp_path / "run")


def test_a_run_that_keeps_none_leaves_no_trace_of_it(finished):
    assert not (finished / "cycles").exists()
    assert "kept" not in json.loads((finished / "summary.json").read_text())
    assert "Averages" not in (finished / "report.html").read_text()


@pytest.mark.slow
def test_training_is_the_same(won, finished):
    workdir, _ = won
    assert measured(workdir) == measured(finished)
    states = [checkpoint.read_newest(folder).state for folder in (workdir, finished)]
    assert digests.digest(states[0]) == digests.digest(states[1])


@pytest.mark.slow
def test_an_average_that_wins_is_what_the_run_ends_with(won, finished, tiny):
    workdir, told = won
    summary = json.loads((workdir / "summary.json").read_text())
    kept = summary["kept"]
    assert sorted(contents(workdir)) == ["full-0.npz", "full-2.npz"]
    assert kept["chosen"] == summary["best"]["average"]
    assert kept["chosen"].endswith("of 2 cycle ends")
    assert (summary["best"]["phase"], summary["best"]["epoch"]) == ("full", 2)
    (chosen,) = [row for row in kept["rows"] if row["weights"] == kept["chosen"]]
    assert (summary["accuracy"], summary["val_loss"]) == (chosen["accuracy"], chosen["val_loss"])
    assert final_digest(workdir) != final_digest(finished)
    assert evaluate(workdir).scores["loss"] == pytest.approx(summary["val_loss"], rel=1e-5)
    answers = json.loads((workdir / "valid" / "metrics.json").read_text())
    assert answers["loss"] == pytest.approx(summary["val_loss"], rel=1e-5)
    assert f"({kept['chosen']}, the best by accuracy)" in told
    page = (workdir / "report.html").read_text()
    assert f"{kept['chosen']} (kept)" in page


@pytest.mark.slow
def test_the_rows_before_it_are_those_of_the_epochs(won, finished):
    first, *ends = json.loads((won[0] / "summary.json").read_text())["kept"]["rows"]
    best = json.loads((finished / "summary.json").read_text())["best"]
    assert first["val_loss"] == pytest.approx(best["val_loss"], rel=1e-5)
    by_name = {f"{row['phase']}, epoch {row['epoch']}": row for row in measured(won[0])}
    for row in ends[:2]:
        epoch = by_name[row["weights"]]
        assert row["val_loss"] == pytest.approx(epoch["val_loss"], rel=1e-5)
        assert row["accuracy"] == epoch["accuracy"]


@pytest.mark.slow
def test_one_that_does_not_win_changes_nothing(drawn, finished, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "wins", lambda found, other: False)
    summary, told = trained(keeping(drawn, ends=5), tmp_path / "run")
    assert summary["kept"]["chosen"] is None
    assert summary["best"] == json.loads((finished / "summary.json").read_text())["best"]
    assert final_digest(tmp_path / "run") == final_digest(finished)
    assert "no average beats the best epoch" in told


@pytest.mark.slow
def test_a_run_killed_after_its_average_was_saved_does_not_judge_again(
    copy, drawn, tiny, monkeypatch
):
    before = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").unlink()
    monkeypatch.setattr(averaging, "judge", None)
    summary, _ = trained(keeping(drawn), copy)
    assert (summary["kept"], summary["best"]) == (before["kept"], before["best"])


def without_its_end(workdir):
    """Undo what a run did after its last phase's checkpoint, as if it had been killed there."""
    (workdir / "summary.json").unlink()
    newest = checkpoint.steps(workdir)[-1]
    shutil.rmtree(workdir / "checkpoints" / str(newest))


@pytest.mark.slow
def test_a_run_killed_before_that_judges_again(copy, drawn, tiny, monkeypatch):
    before = json.loads((copy / "summary.json").read_text())
    without_its_end(copy)
    monkeypatch.setattr(beside, "wins", lambda found, other: True)
    summary, _ = trained(keeping(drawn), copy)
    assert summary["kept"].pop("seconds") != before["kept"].pop("seconds")
    assert (summary["kept"], summary["best"]) == (before["kept"], before["best"])


@pytest.mark.slow
def test_a_damaged_end_is_told_and_left_out(copy, drawn, tiny):
    without_its_end(copy)
    file = copy / "cycles" / "full-0.npz"
    file.write_bytes(file.read_bytes()[:-100])
    summary, told = trained(keeping(drawn), copy)
    (fault,) = summary["kept"]["left_out"]
    assert f"{file} is damaged" in fault and f"warning: {fault}" in told
    assert [row["weights"] for row in summary["kept"]["rows"]] == ["best epoch", "full, epoch 2"]
    assert summary["kept"]["chosen"] is None
    assert "fewer than two cycle ends" in told
    assert f"Left out: {file} is damaged" in (copy / "report.html").read_text()


@pytest.mark.slow
def test_a_run_that_is_interrupted_keeps_the_same_ends(won, drawn, tiny, tmp_path, monkeypatch):
    """Stopped after the first end, with a file of an end that is yet to come."""
    workdir = tmp_path / "run"
    with told_to_stop(monkeypatch, 6, lambda: (workdir / "cycles" / "full-0.npz").exists()):
        run.train(keeping(drawn), workdir)
    assert sorted(contents(workdir)) == ["full-0.npz"]
    (workdir / "cycles" / "full-2.npz").write_bytes(b"of a later start that was killed")
    trained(keeping(drawn), workdir)
    assert contents(workdir) == contents(won[0])
    assert measured(workdir) == measured(won[0])


@pytest.mark.slow
def test_of_many_ends_the_last_ones_stay(drawn, tiny, tmp_path):
    config = keeping(drawn)
    config.phases = config.phases[2:]
    config.phases[0].update(lr=0.01, cycles=4, cycle_mult=1)
    config.optimizer.ema_decay = 0.9
    summary, _ = trained(config, tmp_path / "run")
    assert sorted(contents(tmp_path / "run")) == ["full-2.npz", "full-3.npz", "raw.npz"]
    assert summary["kept"]["left_out"] == [], "nobody asks for the others"
    names = [row["weights"] for row in summary["kept"]["rows"]]
    assert names[1:4] == ["full, epoch 2", "full, epoch 3", "the last of them, raw"]
    assert "SWA of 2 cycle ends" in names


@pytest.mark.slow
def test_a_full_disk_costs_an_end_and_not_the_run(drawn, tiny, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxft.workdir.kept_weights.write", full)
    config = keeping(drawn)
    config.phases = config.phases[2:]
    config.phases[0].lr = 0.01
    summary, told = trained(config, tmp_path / "run")
    assert told.count("this cycle's end cannot be kept: [Errno 28] No space left") == 2
    assert len(summary["kept"]["left_out"]) == 2 and summary["ended_by"] == "max_cycles"


@pytest.mark.parametrize(
    ("ends", "cycles", "words"),
    [(1, 2, "0, or 2 or more"), (-1, 2, "0, or 2 or more"), (2, 1, "have 1 cycle in all")],
)
def test_a_number_of_which_there_is_no_average_is_refused(ends, cycles, words):
    config = keeping("photos", ends)
    config.phases[2].max_cycles = cycles
    with pytest.raises(UserError) as caught:
        load.read(config)
    assert any(words in told for told in caught.value.offenders)


def test_a_run_from_before_the_key_goes_on_without_averages(finished, drawn, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    plain = json.loads((workdir / "config.json").read_text())
    del plain["average_cycles"]
    (workdir / "config.json").write_text(json.dumps(plain))
    same_config.check(workdir, {**plain, "average_cycles": 0})
    with pytest.raises(UserError, match="another config") as caught:
        same_config.check(workdir, {**plain, "average_cycles": 2})
    assert "average_cycles: 0 there, 2 now" in caught.value.offenders
