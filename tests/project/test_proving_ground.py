"""bench/proving_ground.py: tasks, resuming cells, statistics; nothing is trained."""

import argparse
import json
import math
import sys

import numpy as np
import pytest
from places import ROOT

import proving_ground
from ground import cells, paired, picture, regret, tasks
from ground.cells import Cell, Place
from ground.settings import FASTAI, PARTS, SETTINGS, flags_of, part_of
from jaxft.cli.config_file import load_config
from jaxft.config import load

# Stands in for `jaxft train`: a run's files, or a failure where the task is called so.
STAND_IN = """
import json, pathlib, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
if flags["config.data.source"].endswith("broken"):
    sys.exit("no such folder")
if not pathlib.Path(flags.get("config.init_from", ".")).is_dir():
    sys.exit("no such run")
workdir = pathlib.Path(flags["workdir"])
workdir.mkdir(parents=True)
groups = {"early": 0.0, "late": 0.0, "head": 1.0}
phases = [{"name": "head", "groups": groups}, {"name": "full", "groups": {**groups, "late": 0.5}}]
(workdir / "config.json").write_text(json.dumps({"phases": phases}))
(workdir / "data.json").write_text(json.dumps({"digest": "123"}))
seconds = {"total": 5.0}
told = [
    {"name": p["name"], "lr": 0.1, "lr_rule": "config", "epochs": 2, "seconds": seconds}
    for p in phases
]
simple = {"logistic_regression": 0.55, "nearest_neighbours": 0.45}
summary = {"accuracy": 0.7, "val_loss": 1.0, "phases": told, "baselines": simple}
(workdir / "summary.json").write_text(json.dumps(summary))
losses = [("head", 0.5, 1.2, 0.6), ("head", 0.4, 1.3, 0.5), ("full", 0.9, 1.5, 0.4)]
losses.append(("full", 0.3, 1.0, 0.7))
with (workdir / "metrics.jsonl").open("w") as file:
    for epoch, (phase, trained, valid, accuracy) in enumerate(losses):
        row = {"phase": phase, "epoch": epoch, "trn_loss": trained, "first_trn_loss": 2 * trained}
        row |= {"val_loss": valid, "accuracy": accuracy, "seconds": 1.0}
        file.write(json.dumps(row) + "\\n")
"""


@pytest.fixture
def place(tmp_path):
    """An empty place whose command is the stand-in."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    return Place(tmp_path / "out", (), command=(sys.executable, str(script)))


def result(task, seed, setting, accuracy, **changes):
    """A cell as `compare` reads it."""
    made = {
        "task": task, "seed": seed, "setting": setting, "accuracy": accuracy, "val_loss": 0.8,
        "revision": "abc", "cpu_seconds": 100.0, "head": {"accuracy": 0.5, "val_loss": 1.0},
        "full": {"accuracy": accuracy, "val_loss": 0.8}, "head_last_trn_loss": 0.5,
        "full_first_trn_loss": 1.0,
    }  # fmt: skip
    return {**made, **changes}


def test_halves_are_disjoint_and_cover_all_tasks():
    decide, confirm = ({t.name for t in tasks.chosen("", half)} for half in tasks.HALVES)
    assert not decide & confirm
    assert decide | confirm == {task.name for task in tasks.chosen("", "all")}
    assert len(decide) == len(confirm) >= 6
    assert len(decide | confirm) == len(tasks.TASKS)


@pytest.mark.parametrize("half", tasks.HALVES)
def test_each_half_has_tasks_near_to_and_far_from_imagenet(half):
    near = [task.near for task in tasks.chosen("", half)]
    assert 3 <= sum(near) < len(near)


def test_the_sets_of_folder_data_are_among_the_tasks_under_their_own_names():
    import folder_data

    by_name = {task.name: task.examples for task in tasks.TASKS}
    assert {name: by_name.get(name) for name in folder_data.SETS} == folder_data.SETS


def test_tasks_have_the_sizes_that_are_promised():
    assert all(300 <= task.train <= 4000 for task in tasks.TASKS)
    assert all(300 <= task.valid <= 600 for task in tasks.TASKS)


def test_unknown_task_and_setting_are_named():
    with pytest.raises(SystemExit, match="no such task: nonsense"):
        tasks.chosen("scenes,nonsense", "all")
    with pytest.raises(SystemExit, match="no such setting: nonsense"):
        flags_of("nonsense")
    with pytest.raises(SystemExit, match="no such setting: body_1e-3, nonsense;"):
        flags_of("default+body_1e-3+nonsense")


def test_settings_add_up_and_mean_the_last_phase_of_a_part():
    whole, part = flags_of("smooth+no_warmup"), flags_of("body_1e-3+smooth+no_warmup")
    smooth, warmup = "--config.augment.label_smoothing=0.1", "warmup_epochs=0"
    assert whole[-2:] == (smooth, f"--config.phases[2].{warmup}")
    assert part[-3:] == ("--config.phases[0].lr=1e-3", smooth, f"--config.phases[0].{warmup}")
    assert part_of("body_1e-3+smooth") == part_of("body_1e-3") == "body"
    assert flags_of("gradual+steep")[-1].startswith("--config.phases[1].")
    for name in ("body_1e-3+long_head", "gradual+long_head", "head+no_warmup"):
        with pytest.raises(SystemExit, match="has no such phase"):
            flags_of(name)


@pytest.mark.parametrize("name", [*SETTINGS, *PARTS])
def test_settings_are_configs_that_jaxft_takes(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    card, *flags = flags_of(name)
    keys = [f for f in flags if f.startswith("--config.")]
    settings = load.read(load_config(card.removeprefix("--config="), keys))
    whole = ["head_cached", "head_augmented", "full"]
    names = {"head": whole[:2], "body": whole[2:], "": whole}[part_of(name)]
    names = ["late", "full"] if name == "gradual" else names
    assert [phase.name for phase in settings.phases] == names


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_a_task_writes_both_splits_the_same_every_time(task, tmp_path):
    few = task._replace(train=4, valid=4)
    try:
        tasks.write(few, tmp_path / "one")
        tasks.write(few, tmp_path / "other")
    except FileNotFoundError as missing:
        pytest.skip(f"its package is not installed: {missing}")
    files = sorted(f.relative_to(tmp_path / "one") for f in (tmp_path / "one").rglob("*.jpg"))
    assert [sum(f.parts[0] == split for f in files) for split in ("train", "valid")] == [4, 4]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_task_that_fails_midway_leaves_no_folder(tmp_path):
    def examples(random, split, count):
        yield "a", folder_image()
        raise RuntimeError("no more")

    task = tasks.TASKS[0]._replace(examples=examples)
    with pytest.raises(RuntimeError):
        tasks.write(task, tmp_path / "task")
    assert not (tmp_path / "task").exists()


def folder_image():
    """Any picture."""
    from PIL import Image

    return Image.new("RGB", (8, 8))


def test_a_cell_leaves_what_its_run_says(place):
    cell = Cell("scenes", 3, "default")
    assert cells.run(place, cell)
    (found,) = cells.load(place)
    assert (found["task"], found["seed"], found["setting"]) == tuple(cell)
    assert found["data"] == "123"
    assert found["accuracy"] == 0.7
    assert found["head"] == {"accuracy": 0.6, "val_loss": 1.2}
    assert found["full"] == {"accuracy": 0.7, "val_loss": 1.0}
    assert found["baselines"] == {"logistic_regression": 0.55, "nearest_neighbours": 0.45}
    assert found["head_last_trn_loss"] == 0.4
    assert found["full_first_trn_loss"] == 1.8
    assert found["rates"] == {"head": 0.1, "full": 0.1}
    assert found["cpu_seconds"] > 0 and found["seconds"] > 0
    assert not place.workdir(cell).exists()


def test_settings_of_a_task_share_the_cache_and_not_the_workdir(place):
    one, other = (
        dict(w.split("=", 1) for w in cells.command(place, Cell("scenes", 0, name)) if "=" in w)
        for name in ("default", "frozen")
    )
    assert one["--config.cache_dir"] == other["--config.cache_dir"]
    assert one["--workdir"] != other["--workdir"]


def test_a_body_alone_begins_with_the_head_of_its_task_and_seed(place):
    grid = [Cell("scenes", 3, f"body_{rate}") for rate in ("1e-3", "2e-3")]
    assert cells.run_all(place, grid, jobs=2) == 0
    head = Cell("scenes", 3, "head")
    assert {r["setting"] for r in cells.load(place)} == {"head", "body_1e-3", "body_2e-3"}
    for cell in grid:
        assert f"--config.init_from={place.workdir(head)}" in cells.command(place, cell)
        assert not place.workdir(cell).exists()
    assert place.workdir(head).is_dir()
    assert not any("init_from" in word for word in cells.command(place, head))
    place.file(head).unlink()
    assert cells.run_all(place, grid, jobs=1) == 0  # anew, though its workdir is there
    with pytest.raises(SystemExit, match=r"other flags.*scenes\.3\.head"):
        cells.run_all(place._replace(flags=("--config.data.image_size=112",)), grid[:1], jobs=1)


def test_a_cell_of_fastai_is_read_from_what_it_prints_last(place, tmp_path):
    peer = tmp_path / "peer"
    peer.write_text("""#!/bin/sh
        echo "epoch 0"; echo "$@" > "$(dirname "$0")/said"
        echo '{"accuracy": 0.6, "val_loss": 1.1, "last_accuracy": 0.6, "versions": {"torch": "2"}}'
    """)
    peer.chmod(0o755)
    place, cell = place._replace(peer=str(peer), image_size=96), Cell("scenes", 2, FASTAI)
    assert cells.run(place, cell)
    (found,) = cells.load(place)
    assert (found["accuracy"], found["val_loss"], found["head"]) == (0.6, 1.1, None)
    assert found["versions"] == {"torch": "2"}  # the peer's, not ours
    said = (tmp_path / "said").read_text().split()
    assert said[0].endswith("bench/folder.py") and said[1] == "--worker"
    assert {"--image-size=96", "--seeds=2", f"--data={place.out / 'data' / 'scenes'}"} < set(said)
    ours = result("scenes", 2, "default", 0.7)
    compared = paired.compare([found, ours], tasks.TASKS[0], FASTAI, "default")
    assert compared.difference.mean == pytest.approx(0.1)


def test_fastai_asks_for_an_interpreter(tmp_path, monkeypatch):
    words = ["proving_ground.py", f"--out={tmp_path / 'out'}", "--settings=fastai"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="--peer-python"):
        proving_ground.main()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--seeds=a", "--jobs=0"])
def test_senseless_numbers_are_told_before_anything_is_written(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["proving_ground.py", f"--out={tmp_path / 'out'}", flag])
    with pytest.raises(SystemExit):
        proving_ground.main()
    assert "invalid" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fastai_has_one_model(tmp_path, monkeypatch):
    words = ["--settings=fastai", "--peer-python=python3", "--model=resnet50"]
    monkeypatch.setattr(sys, "argv", ["proving_ground.py", f"--out={tmp_path / 'out'}", *words])
    with pytest.raises(SystemExit, match="efficientnet_lite0 with its usual weights only"):
        proving_ground.main()


def test_cells_that_are_there_are_not_run_again(place):
    there, new = Cell("scenes", 0, "default"), Cell("scenes", 1, "default")
    assert cells.run_all(place, [there], jobs=1) == 0
    before = place.file(there).stat().st_mtime_ns
    assert cells.missing(place, [there, new]) == [new]
    assert cells.run_all(place, [there, new], jobs=2) == 0
    assert place.file(there).stat().st_mtime_ns == before
    assert json.loads(place.file(new).read_text())["seed"] == 1


def test_a_setting_whose_flags_have_changed_is_not_mixed_with_what_is_there(place):
    cell = Cell("scenes", 0, "default")
    assert cells.run_all(place, [cell], jobs=1) == 0
    with pytest.raises(SystemExit, match=r"other flags.*scenes\.0\.default"):
        cells.run_all(place._replace(flags=("--config.data.image_size=112",)), [cell], jobs=1)


def test_a_failing_cell_leaves_its_error_and_the_others_run(place, capsys):
    broken, fine = Cell("broken", 0, "default"), Cell("scenes", 0, "default")
    assert cells.run_all(place, [broken, fine], jobs=1) == 1
    assert "no such folder" in place.error(broken).read_text()
    assert "broken.0.default: ended with 1" in capsys.readouterr().out
    assert place.file(fine).is_file()
    assert cells.missing(place, [broken, fine]) == [broken]


def test_another_size_has_cells_of_its_own(tmp_path):
    usual, large = (
        proving_ground.place_of(
            argparse.Namespace(
                peer_python="",
                out=tmp_path,
                image_size=size,
                model=proving_ground.MODEL,
                weights=None,
            )
        )
        for size in (proving_ground.IMAGE_SIZE, 224)
    )
    assert usual.cells != large.cells
    assert usual.workdir(Cell("a", 0, "b")) != large.workdir(Cell("a", 0, "b"))


def test_estimate_against_numbers_by_hand():
    found = paired.estimate([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.error == pytest.approx(math.sqrt(7.0 / 3))  # variance (4 + 1 + 9) / 2
    assert math.isnan(paired.estimate([1.0]).error)
    assert paired.estimate([0.5, 0.5]).t == math.inf
    assert paired.estimate([0.0, 0.0]).t == 0.0


def test_compare_pairs_by_seed_and_leaves_out_what_has_no_partner():
    task = tasks.TASKS[0]
    results = [
        *(result(task.name, seed, "a", value) for seed, value in enumerate([0.5, 0.6, 0.9])),
        result(task.name, 0, "b", 0.53, cpu_seconds=50.0, full_first_trn_loss=1.5),
        result(task.name, 1, "b", 0.65, val_loss=1.0),
        result(task.name, 7, "b", 0.1),
        result("another", 2, "b", 0.1),
    ]
    found = paired.compare(results, task, "a", "b")
    assert found.seeds == (0, 1)
    assert (found.base, found.setting) == (pytest.approx(0.55), pytest.approx(0.59))
    assert found.difference.mean == pytest.approx(0.04)
    assert found.difference.error == pytest.approx(0.01)
    assert found.head_gain.mean == pytest.approx(0.09)
    assert found.jump == pytest.approx(2.5)
    assert found.val_loss == pytest.approx(1.125)
    assert found.seconds == pytest.approx(0.75)


def comparison(task, *values):
    """A comparison by its differences alone."""
    base = [result(task.name, seed, "a", 0.5) for seed in range(len(values))]
    new = [result(task.name, seed, "b", 0.5 + value) for seed, value in enumerate(values)]
    return paired.compare([*base, *new], task, "a", "b")


def test_overall_counts_each_task_once_and_wins_beyond_two_standard_errors():
    win, loss, draw, empty = tasks.TASKS[:4]
    found = paired.overall(
        [
            comparison(win, 0.03, 0.05),
            comparison(loss, -0.02, -0.02, -0.02),
            comparison(draw, 0.0, 0.02),
            comparison(empty),
        ]
    )
    assert (found.tasks, found.wins, found.losses) == (3, 1, 1)
    means = np.array([0.04, -0.02, 0.01])
    assert found.difference.mean == pytest.approx(means.mean())
    assert found.difference.error == pytest.approx(means.std(ddof=1) / math.sqrt(3))
    assert found.errors == pytest.approx((1 - means / 0.5).mean())


def test_table_tells_half_by_half_and_plot_is_drawn(tmp_path):
    decide, confirm = (tasks.chosen("", half)[0] for half in tasks.HALVES)
    compared = [comparison(decide, 0.03, 0.05), comparison(confirm, 0.01)]
    text = paired.table(compared, "a", "b")
    assert f"| {decide.name} | decide | 2 | 0.5000 | 0.5400 | +0.0400 +- 0.0100 |" in text
    assert f"| {confirm.name} | confirm | 1 | 0.5000 | 0.5100 | +0.0100 |" in text
    assert "decide: +0.0400 over 1 tasks; beyond two standard errors better on 1" in text
    assert "confirm: +0.0100 over 1 tasks; beyond two standard errors better on 0" in text
    picture.draw(compared, "a", "b", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_tells_what_lies_on_disk(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cells"
    folder.mkdir()
    for seed, setting, value in ((0, "default", 0.5), (0, "adamw", 0.6)):
        data = result("scenes", seed, setting, value)
        (folder / f"scenes.{seed}.{setting}.json").write_text(json.dumps(data))
    monkeypatch.setattr(sys, "argv", ["", f"--out={tmp_path}", "--table=default,adamw"])
    proving_ground.main()
    told = capsys.readouterr().out
    assert "| scenes | decide | 1 | 0.5000 | 0.6000 | +0.1000 |" in told
    assert "confirm: no task has results of both." in told
    assert "adamw was computed at abc." in told


def test_a_setting_alone_is_held_against_its_own_head(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cells"
    folder.mkdir()
    found = (
        result("scenes", 0, "default", 0.9),
        result("scenes", 0, "adamw", 0.6),
        result("things", 0, "adamw", 0.6, full_first_trn_loss=0.5),
    )
    for number, data in enumerate(found):
        (folder / f"{number}.json").write_text(json.dumps(data))
    monkeypatch.setattr(sys, "argv", ["", f"--out={tmp_path}", "--table=adamw"])
    proving_ground.main()
    told = capsys.readouterr().out
    assert "| scenes | decide | 1 | 0.5000 | 0.6000 | +0.1000 | +0.1000 | 2.00x | 0.80x |" in told
    assert "Jump: 1.50x at the median, 2.00x at worst." in told


def test_a_setting_is_held_against_the_simple_classifiers_of_its_own_runs(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "cells"
    folder.mkdir()
    simple = {"logistic_regression": 0.5, "nearest_neighbours": 0.7}
    data = result("scenes", 0, "default", 0.6, baselines=simple, cpu_seconds=90.0)
    (folder / "scenes.json").write_text(json.dumps(data))
    for base, difference, errors in (
        ("logistic_regression", "+0.1000", "0.80"),
        ("nearest_neighbours", "-0.1000", "1.33"),
    ):
        monkeypatch.setattr(sys, "argv", ["", f"--out={tmp_path}", f"--table={base},default"])
        proving_ground.main()
        told = capsys.readouterr().out
        assert f"| scenes | decide | 1 | {simple[base]:.4f} | 0.6000 | {difference} |" in told
        assert f"{errors} times the errors on average." in told  # no time is told: it is the same


def test_a_summary_tells_of_all_seeds_of_a_task(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cells"
    folder.mkdir()
    simple = {"logistic_regression": 0.5, "nearest_neighbours": 0.7}
    for seed, accuracy, rate in ((0, 0.6, 1e-3), (1, 0.7, 4e-3)):
        rates = {"head_cached": 2e-3, "head_augmented": 2e-3, "full": rate}
        data = result("scenes", seed, "default", accuracy, baselines=simple, rates=rates)
        (folder / f"{seed}.json").write_text(json.dumps(data))
    monkeypatch.setattr(sys, "argv", ["", f"--out={tmp_path}", "--summary=default"])
    proving_ground.main()
    told = capsys.readouterr().out
    row = "| scenes | 2 | 0.500 | 0.700 | 0.500 | **0.650** +- 0.050 | 2.00, 2.00 "
    assert f"{row}| 2.0e-03 | 1.0e-03 to 4.0e-03 | 100 |" in told
    assert "default was computed at abc." in told and "things" not in told


def grid_cell(task, seed, setting, loss, **changes):
    """A cell of a grid: the loss of its last epoch."""
    return {"task": task, "seed": seed, "setting": setting, "rows": [{"val_loss": loss}], **changes}


def test_regret_reads_the_loss_at_a_found_rate_off_the_grid(tmp_path, monkeypatch, capsys):
    losses = {"1e-3": (1.2, 1.4), "2e-3": (1.0, 1.0), "4e-3": (1.0, 2.0)}  # means 1.3, 1.0, 1.5
    results = [
        grid_cell("scenes", seed, f"body_{rate}", loss)
        for rate, of_seeds in losses.items()
        for seed, loss in enumerate(of_seeds)
    ]
    found = {"head_cached": 0.1, "full": 1e-3 * math.sqrt(2)}  # half way from 1e-3 to 2e-3: 1.15
    results.append(grid_cell("scenes", 0, "default", 1.0, rates=found))
    rates = {"valley": 8e-3, "slide": None, "minimum": 4e-3, "steep": 1e-3}
    results.append(grid_cell("scenes", 0, "body_rules", 1.0, by_rule={"full": rates}))
    told = regret.regret_of(results, tasks.TASKS[0], "body")
    assert told.best == 2e-3
    assert told.rules == {
        "default": pytest.approx(0.15), "valley": pytest.approx(0.5), "slide": None,
        "minimum": pytest.approx(0.5), "steep": pytest.approx(0.3),
    }  # fmt: skip
    assert regret.regret_of(results, tasks.TASKS[0], "head") is None
    added = [{**result, "setting": result["setting"] + "+smooth"} for result in results]
    smooth = regret.regret_of(added, tasks.TASKS[0], "body+smooth")
    assert list(smooth.rules) == ["default+smooth", *regret.RULES]
    assert list(smooth.rules.values()) == list(told.rules.values())
    assert regret.regret_of(results, tasks.TASKS[0], "body+smooth") is None
    assert regret.table(results, tasks.TASKS, "head").startswith("no task has both a grid")
    place = tmp_path / "cells"
    place.mkdir()
    for result in results:
        name = f"{result['task']}.{result['seed']}.{result['setting']}.json"
        (place / name).write_text(json.dumps(result))
    words = ["proving_ground.py", f"--out={tmp_path}", "--regret=body"]
    monkeypatch.setattr(sys, "argv", words)
    proving_ground.main()
    said = capsys.readouterr().out
    assert "| scenes | decide | 2.0e-03 | 1.4e-03 | 15.0% | 50.0% | none | 50.0% | 30.0% |" in said
    assert "decide, default: 15.0% at the median, 15.0% at worst" in said
