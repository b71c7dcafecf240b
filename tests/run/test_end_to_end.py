"""The eight steps, each seen in what a run leaves behind: the quickstart's own card, shrunk."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxft
from jaxft import run
from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.data.sources import registry
from jaxft.features import cache
from jaxft.models.weights import pretrained
from jaxft.runtime import digests
from jaxft.runtime.folders import cache_directory
from jaxft.workdir import saving

PER_CLASS = 12


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory):
    """PER_CLASS of scikit-learn's digits in each of the first three classes, as PNG files."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("digits")
    split = registry.open_dataset("digits").train
    for label in range(3):
        for index in np.flatnonzero(split.labels == label)[:PER_CLASS]:
            path = folder / str(label) / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(split.read(int(index))).save(path)
    return folder


def shrunk(folder, *overrides):
    """The quickstart's card on a few images of 32 pixels, 3 steps an epoch."""
    small = [
        f"--config.data.source=folder:{folder}",
        "--config.data.image_size=32",
        "--config.data.batch_size=8",
        "--config.finder.steps=20",
        "--config.finder.lo=1e-4",
        "--config.finder.hi=0.1",
        # Never over-fitted: all three cycles run, whatever so few images say.
        "--config.phases[2].max_cycles=3",
        "--config.overfit.t=1e9",
        "--config.best_by=val_loss",
    ]
    return load_config("quickstart", [*small, *overrides])


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory, few_digits, cache_home):
    """The workdir of the shrunken quickstart, and each checkpoint as it was saved."""
    workdir = tmp_path_factory.mktemp("quickstart") / "run"
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        save = saving.Checkpoints.save

        def keeping(self, step, item):
            saved.append(item)
            save(self, step, item)

        patch.setattr(saving.Checkpoints, "save", keeping)
        run.train(shrunk(few_digits), workdir)
    return workdir, saved


def body_digest(params, batch_stats):
    return cache.weights_digest(params, batch_stats)


@pytest.mark.slow(minutes=6)
def test_the_eight_steps(quickstart):
    workdir, saved = quickstart
    table = rows(workdir / "metrics.jsonl")
    config = json.loads((workdir / "config.json").read_text())
    summary = json.loads((workdir / "summary.json").read_text())
    cached, augmented, full = summary["phases"]
    curves = {
        name: json.loads((workdir / "lr_find" / f"{name}.json").read_text())
        for name in ("head_cached", "full")
    }
    of = {name: [row for row in table if row["phase"] == name] for name in
          ("head_cached", "head_augmented", "full")}  # fmt: skip
    assert [row["phase"] for row in table] == [name for name in of for _ in of[name]]

    # 1: precomputed activations and augmentation are what the phases' inputs are.
    assert [phase["inputs"] for phase in config["phases"]] == ["cached", "augmented", "augmented"]
    settings = load.from_dict(config)
    entries = list((cache_directory(settings.cache_dir) / "features").glob("*.npy"))
    assert {PER_CLASS * 3} <= {len(np.load(a)) + len(np.load(b)) for a in entries for b in entries}

    # 2: the rate is found, and used.
    assert cached["lr"] == curves["head_cached"]["lr"] and cached["lr_rule"] != "config"
    assert all(row["lr"] == {"head": cached["lr"]} for row in of["head_cached"])

    # 3: the head from cached features for two epochs.
    assert (cached["epochs"], len(of["head_cached"])) == (2, 2)

    # 4: the head with augmentation, three cycles of one epoch, each from the full rate again.
    assert augmented["lr"] == cached["lr"]
    assert [row["cycle"] for row in of["head_augmented"]] == [0, 1, 2]
    assert all(row["lr"] == pytest.approx({"head": cached["lr"]}) for row in of["head_augmented"])

    # 5: the body has not moved until now, in no parameter and no statistic, and then does.
    loaded = pretrained.load("efficientnet_lite0", "imagenet")
    assert loaded is not None
    imagenet = body_digest(loaded.params, loaded.stats)
    moved = [body_digest(s.state["params"], s.state["batch_stats"]) != imagenet for s in saved]
    # The state at the end of the last phase, then what the run ends with: its best epoch.
    assert moved == [False] * 5 + [True] * 7 + [summary["best"]["phase"] == "full"]
    heads = [digests.digest(item.state["params"]["head"]) for item in saved]
    assert len(set(heads[:11])) == 11

    # 6: earlier groups learn more slowly, by the multipliers of the config.
    groups = config["phases"][2]["groups"]
    assert 0 < groups["early"] < groups["late"] < groups["head"] == 1
    for row in of["full"]:
        wanted = {group: row["lr"]["head"] * rate for group, rate in groups.items()}
        assert row["lr"] == pytest.approx(wanted)

    # 7: the second range test is one of its own.
    assert full["lr"] == curves["full"]["lr"]
    assert curves["full"]["losses"] != curves["head_cached"]["losses"]

    # 8: cycles of 1, 2 and 4 epochs, and what ended them.
    assert [row["cycle"] for row in of["full"]] == [0, 1, 1, 2, 2, 2, 2]
    assert (full["cycles"], full["epochs"]) == (3, 7)
    assert summary["ended_by"] == full["ended_by"] == "max_cycles"
    assert summary["val_loss"] == min(row["val_loss"] for row in table)


@pytest.mark.slow(minutes=2)
def test_over_fitting_ends_the_run_with_the_best_cycle(quickstart, few_digits, tmp_path):
    """With a t that every difference exceeds, one cycle end of less training loss is enough."""
    workdir, _ = quickstart
    overrides = ["--config.overfit.t=-1e9", "--config.overfit.patience=1"]
    config = shrunk(few_digits, f"--config.init_from={workdir}", *overrides)
    summary = run.train(config, tmp_path / "run")
    full = summary["phases"][2]
    whole = rows(tmp_path / "run" / "metrics.jsonl")
    heads, table = whole[:5], whole[5:]
    ends = [i for i in (0, 2, 6) if i < len(table)]
    signs = [falls(heads, table[:i], table[i]) for i in ends]
    assert True not in signs[:-1], "the first one ends the phase"
    assert full["cycles"] == len(signs)
    assert full["ended_by"] == ("overfit" if signs[-1] else "max_cycles")
    assert summary["val_loss"] == min(row["val_loss"] for row in whole)


def falls(heads, before, end):
    """Tell if a cycle end's training loss is below that of the best epoch before it.

    Where that is one of the head's, it is below that of the head's last.
    """
    best = min(heads + before, key=lambda row: row["val_loss"])
    return end["trn_loss"] < (heads[-1] if best in heads else best)["trn_loss"]


@pytest.mark.slow(minutes=5)
def test_resnext_goes_through_the_same_phases_without_weights(few_digits, tmp_path):
    overrides = ["--config.model.name=resnext50_32x4d", "--config.model.weights=none"]
    config = shrunk(few_digits, *overrides, "--config.phases[2].max_cycles=1")
    summary = run.train(config, tmp_path / "run")
    assert [phase["name"] for phase in summary["phases"]] == [
        "head_cached",
        "head_augmented",
        "full",
    ]
    assert [phase["epochs"] for phase in summary["phases"]] == [2, 3, 1]
    table = rows(tmp_path / "run" / "metrics.jsonl")
    assert all(np.isfinite([row["trn_loss"], row["val_loss"]]).all() for row in table)
    restored = jaxft.restore(tmp_path / "run")
    chances = restored.apply(np.zeros((2, 40, 40, 3), np.uint8))
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-5)
