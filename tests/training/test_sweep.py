"""Many heads at once: each ends like a run of its own, and the best is a config that trains."""

import json

import numpy as np
import pytest
import tiny_body
import tiny_config

from jaxft import run
from jaxft.cli import main
from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.errors import UserError
from jaxft.evaluation import bootstrap
from jaxft.models.registry import BODIES
from jaxft.runtime.console import Console
from jaxft.training.sweep import grid as grids
from jaxft.training.sweep import heads, story
from jaxft.training.sweep.grid import Grid, Point
from jaxft.workdir.rows import read_object

GRID = Grid((0.02, 0.1), (0.0, 0.01), (0.0, 0.4), ((8,),), (0.0, 0.1), seeds=2)


def config_of(drawn):
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[:1]
    return config


@pytest.fixture(scope="module")
def swept(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        return folder, story.sweep(config_of(drawn), GRID, folder, Console(None))


@pytest.mark.slow
def test_every_setting_is_ranked_once_by_its_validation_loss(swept):
    folder, result = swept
    rows = result["settings"]
    assert len(rows) == 16 and [row["rank"] for row in rows] == list(range(1, 17))
    losses = [row["val_loss"] for row in rows]
    assert losses == sorted(losses)
    for row in rows:
        by_seed = [seed["val_loss"] for seed in row["by_seed"]]
        assert row["val_loss"] == pytest.approx(np.mean(by_seed), rel=1e-6)
    assert read_object(folder / "sweep.json") == json.loads(json.dumps(result))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, -1])
def test_a_head_of_many_ends_like_a_run_of_its_own(rank, swept, drawn, tiny, tmp_path):
    _, result = swept
    row = result["settings"][rank]
    alone = config_of(drawn)
    alone.seed = row["by_seed"][0]["seed"]
    alone.phases[0].lr, alone.optimizer.weight_decay = row["lr"], row["weight_decay"]
    alone.model.dropout = (row["dropout"] / 2, row["dropout"])
    alone.augment.label_smoothing = row["smoothing"]
    run.train(alone, tmp_path / "run")
    *_, last = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["by_seed"][0]["val_loss"] == pytest.approx(last["val_loss"], rel=1e-4)
    assert row["by_seed"][0]["accuracy"] == last["accuracy"]


@pytest.mark.slow
def test_the_best_is_a_config_with_its_values(swept, tiny):
    folder, result = swept
    best, found = result["settings"][0], load.read(load_config(str(folder / "best.py")))
    assert found.phases[0].lr == best["lr"]
    assert found.optimizer.weight_decay == best["weight_decay"]
    assert found.augment.label_smoothing == best["smoothing"]
    assert found.model.dropout == (best["dropout"] / 2, best["dropout"])


@pytest.mark.slow
def test_the_same_command_tells_the_result_and_another_is_refused(swept, drawn, tiny):
    folder, result = swept
    again = story.sweep(config_of(drawn), GRID, folder, Console(None))
    assert again["settings"] == json.loads(json.dumps(result["settings"]))
    with pytest.raises(UserError, match="sweep of other settings"):
        story.sweep(config_of(drawn), Grid(lr=(0.5,)), folder)


def test_a_folder_with_something_else_is_refused_and_left_alone(drawn, tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds something else than a sweep") as error:
        story.sweep(config_of(drawn), GRID, tmp_path)
    assert error.value.offenders == ("mine.txt",)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_values_that_make_no_sense_are_told_together(drawn, tiny, tmp_path, capsys):
    words = ["--lr=-1", "--dropout=1.5,0.1", "--smoothing=2"]
    card = f"--config=tests/support/tiny_config.py:{drawn}"
    assert main.main(["sweep", card, f"--workdir={tmp_path / 'x'}", *words]) == 2
    told = capsys.readouterr().err
    assert "lr" in told and "dropout" in told and "label_smoothing" in told
    assert not (tmp_path / "x").exists()


def test_without_a_cached_phase_at_the_beginning_there_is_nothing_to_sweep(drawn, tiny):
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[1:]
    config.phases[0].lr = 0.1
    with pytest.raises(UserError, match="trains heads on cached features") as error:
        grids.demand_phase(load.read(config))
    assert error.value.offenders == ("head_augmented", "full")


def test_a_linear_head_has_no_dropout_to_vary():
    found = grids.points(Grid((0.1,), (0.0,), (0.0, 0.5), ((), (8,)), (0.0,)))
    assert found == [
        Point((), 0.1, 0.0, 0.0, 0.0),
        Point((8,), 0.1, 0.0, 0.0, 0.0),
        Point((8,), 0.1, 0.0, 0.5, 0.0),
    ]


def test_programs_are_of_one_size_and_hold_every_setting():
    assert story.chunks(range(7), most=3, devices=1) == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert story.chunks(range(3), most=8, devices=2) == [[0, 1, 2, 2]]


def test_batches_are_filled_up_and_taken_apart_again():
    features, labels = np.arange(10.0).reshape(5, 2), np.arange(5)
    rows, numbers = heads.batches(features, labels, 2)
    assert rows.shape == (3, 2, 2) and numbers.shape == (3, 2)
    scores = np.broadcast_to(numbers[:, None, None], (3, 4, 6, 2))  # 4 seeds, 6 heads
    assert heads.unbatched(scores, 5).shape == (6, 4, 5)
    np.testing.assert_array_equal(heads.unbatched(scores, 5)[2, 3], labels)


def test_the_bootstraps_error_is_that_of_a_mean():
    losses = np.random.default_rng(0).exponential(size=(2, 1, 400))
    found = bootstrap.errors(losses)
    np.testing.assert_allclose(found.loss, losses.mean((1, 2)))
    np.testing.assert_allclose(found.error, losses.std(2)[:, 0] / 20, rtol=0.1)
