"""Trackers: what the real clients hold after a run, and that none of them can harm it."""

import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from types import SimpleNamespace

import bucket
import pytest
import tiny_config
from PIL import Image
from places import ROOT

from jaxft import run
from jaxft.config import load, tracking
from jaxft.errors import Interrupted, UserError
from jaxft.report.trackers import lane, registry
from jaxft.report.trackers import tracking as told
from jaxft.report.trackers.mlflow import flat
from jaxft.report.trackers.tracker import PROJECT, Begun, Scalars
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.training import step_losses
from jaxft.workdir.rows import read_rows

# MLflow warns of what SQLAlchemy will drop; here an error in a client would be told of a tracker.
pytestmark = pytest.mark.filterwarnings("default")

STEPS = list(range(1, 10))  # three epochs of three steps
PICTURES = {"losses", "rates", "lr_find/head"}


def config(drawn, track):
    """Three epochs of the head on the cached features."""
    made = tiny_config.get_config(drawn)
    made.track = track
    made.phases = made.phases[:1]
    made.phases[0].update(name="head", lr=0.1, epochs=3)
    return made


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """No client asks a server, and none writes outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_DIR", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        yield


def draw(file):
    """A picture, as a range test leaves one."""
    file.parent.mkdir(exist_ok=True)
    Image.new("L", (4, 4)).save(file)


def stop_after(monkeypatch, steps, error):
    """Let the next run end with an error after so many steps of its phase have been told of."""
    demand = step_losses.demand_finite

    def demanding(number, loss):
        demand(number, loss)
        if number == steps:
            raise error

    monkeypatch.setattr(step_losses, "demand_finite", demanding)


# What the clients' own readers find: {name: [(step, value)]}, names of pictures, number of runs.


def read_tensorboard(workdir, run_id):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(workdir / "tensorboard"))
    found.Reload()
    scalars = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    return scalars, set(found.Tags()["images"]), 1


def read_wandb(workdir, run_id):
    scalars: dict[str, list[tuple[int, float]]] = {}
    pictures: set[str] = set()
    for file in sorted((workdir / "wandb").glob("offline-run-*/*.wandb")):
        assert file.stem == f"run-{run_id}"  # what makes them one run when they are uploaded
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in printed.splitlines()]
        for item in [row["history"]["item"] for row in records if row["type"] == "history"]:
            step = item.pop("global_step")
            for name, value in item.items():
                if isinstance(value, int | float):
                    scalars.setdefault(name, []).append((step, value))
                elif value == "image-file":
                    pictures.add(name.removesuffix("._type"))
    return scalars, pictures, 1


def read_mlflow(workdir, run_id):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(PROJECT)
    runs = client.search_runs([experiment.experiment_id])
    assert (runs[0].info.run_id, runs[0].info.status) == (run_id, "FINISHED")
    assert runs[0].data.params["phases.0.name"] == "head"
    scalars = {
        name: [(one.step, one.value) for one in client.get_metric_history(run_id, name)]
        for name in runs[0].data.metrics
    }
    files = [*client.list_artifacts(run_id), *client.list_artifacts(run_id, "lr_find")]
    return scalars, {file.path.removesuffix(".png") for file in files if not file.is_dir}, len(runs)


def read_trackio(workdir, run_id):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    scalars: dict[str, list[tuple[int, float]]] = {}
    pictures: set[str] = set()
    for row in SQLiteStorage.get_logs(PROJECT, run_id):
        for name, value in row.items():
            if isinstance(value, dict):
                pictures.add(name)
            elif "/" in name:
                scalars.setdefault(name, []).append((row["step"], value))
    runs = [run for run in trackio.Api().runs(PROJECT) if run.name == run_id]
    assert runs[0].config["phases"][0]["name"] == "head"
    return scalars, pictures, len(runs)


READERS = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_run_that_failed_and_resumed_is_one_run_without_a_gap(
    name, drawn, tmp_path, tiny, at_home, monkeypatch
):
    """It failed a step after its first checkpoint, and had told of that step already."""
    pytest.importorskip(tracking.PACKAGES[name])
    workdir = tmp_path / "run"
    said: list[str] = []
    console = Console(None)
    monkeypatch.setattr(console, "say", said.append)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        stop_after(patch, 4, RuntimeError("power cut"))
        run.train(config(drawn, name), workdir, console)
    ids = json.loads((workdir / "trackers.json").read_text())
    draw(workdir / "lr_find" / "head.png")
    summary = run.train(config(drawn, name), workdir, console)
    assert [text for text in said if "warning" in text] == []
    assert json.loads((workdir / "trackers.json").read_text()) == ids
    scalars, pictures, runs = READERS[name](workdir, ids[name])
    losses = scalars["steps/loss"]
    if name == "wandb":  # offline it cannot know what it holds: step 4 is there twice, the same
        losses = sorted(set(losses))
    assert [step for step, _ in losses] == STEPS
    table = read_rows(workdir / "metrics.jsonl")
    for key in ("trn_loss", "val_loss", "accuracy"):
        there = [(row["global_step"], pytest.approx(row[key])) for row in table]
        assert scalars[f"head/{key}"] == there
    means = [sum(loss for _, loss in losses[first : first + 3]) / 3 for first in (0, 3, 6)]
    assert means == pytest.approx([row["trn_loss"] for row in table])
    rates = [value for _, value in sorted(set(scalars["steps/lr/head"]))]
    assert rates == pytest.approx([table[0]["lr"]["head"]] * 9)
    assert scalars["summary/accuracy"] == [(9, pytest.approx(summary["accuracy"]))]
    assert (pictures, runs) == (PICTURES, 1)


class Noting:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.starts, self.rows, self.pictures, self.ends = [], [], [], []

    def begin(self, start):
        self.starts.append(start)
        return Begun(start.run_id or "new", {})

    def log(self, rows):
        self.rows += rows

    def show(self, step, name, image):
        self.pictures.append((step, name, image.mode))

    def end(self, ended_by):
        self.ends.append(ended_by)


@pytest.fixture
def noting(monkeypatch):
    """A tracker that keeps what it is told, under the names of all."""
    made = {name: Noting() for name in registry.TRACKERS}
    known = {name: lambda name=name: made[name] for name in made}
    monkeypatch.setattr(told, "TRACKERS", known)
    monkeypatch.setattr(tracking, "PACKAGES", dict.fromkeys(made, "json"))
    monkeypatch.setattr(lane, "PAUSE", 0.01)
    return made


def steps_of(tracker):
    return [row.step for row in tracker.rows if "steps/loss" in row.values]


@pytest.mark.slow
def test_trackers_may_change_when_a_run_is_resumed(drawn, tmp_path, tiny, noting, monkeypatch):
    one, other = noting["tensorboard"], noting["mlflow"]
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_after(patch, 4, Interrupted())
        run.train(config(drawn, "tensorboard"), tmp_path / "run")
    assert (one.ends, steps_of(one)) == (["interrupted"], [1, 2, 3, 4])
    draw(tmp_path / "run" / "lr_find" / "head.png")
    run.train(config(drawn, "tensorboard, mlflow"), tmp_path / "run")
    assert [(start.run_id, start.step) for start in one.starts] == [(None, 0), ("new", 3)]
    assert [(start.run_id, start.step) for start in other.starts] == [(None, 3)]
    assert other.starts[0].config["phases"][0]["name"] == "head"
    assert steps_of(one) == [1, 2, 3, 4, *STEPS[3:]]
    assert steps_of(other) == STEPS[3:]
    assert other.pictures == [(9, name, "RGB") for name in ("losses", "rates", "lr_find/head")]
    assert (one.ends[1], other.ends) == ("finished", ["finished"])
    ids = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert ids == {"tensorboard": "new", "mlflow": "new"}


def test_a_run_that_begins_anew_has_a_new_id(tmp_path, noting):
    for done in (None, 5, None):
        with told.tracked("wandb", tmp_path, done, print):
            pass
    assert [(start.run_id, start.step) for start in noting["wandb"].starts] == [
        (None, 0),
        ("new", 5),
        (None, 0),
    ]


@pytest.mark.parametrize("where", ["made", "begin", "log", "show", "end"])
def test_a_tracker_that_raises_is_dropped_with_one_warning(where, tmp_path, noting, monkeypatch):
    said: list[str] = []
    broken = noting["wandb"]

    def fail(*_):
        raise RuntimeError("no route\nto host")

    if where == "made":
        monkeypatch.setitem(vars(told)["TRACKERS"], "wandb", fail)
    monkeypatch.setattr(broken, where, fail, raising=False)
    draw(tmp_path / "losses.png")
    with told.tracked("wandb,mlflow", tmp_path, None, said.append) as trackers:
        for step in STEPS:
            trackers.step(step, 1.0, 0.1, {"head": 1.0})
            time.sleep(0.01)
        trackers.finish(9, {"accuracy": 0.5}, tmp_path)
    assert len(said) == 1
    assert "the tracker wandb is" in said[0]
    assert "RuntimeError: no route to host" in " ".join(said[0].split())
    assert steps_of(noting["mlflow"]) == STEPS
    assert noting["mlflow"].ends == ["finished"]
    assert broken.ends == []


def test_a_run_never_waits_for_a_tracker(tmp_path, noting, monkeypatch):
    said: list[str] = []
    released = threading.Event()
    ended = threading.Event()
    monkeypatch.setattr(noting["wandb"], "log", lambda rows: released.wait(60))
    monkeypatch.setattr(noting["mlflow"], "end", lambda ended_by: ended.set())
    clock = SimpleNamespace(monotonic=lambda: told.END_SECONDS if ended.is_set() else 0.0)
    monkeypatch.setattr(told, "time", clock)
    started = time.perf_counter()
    with told.tracked("mlflow,wandb", tmp_path, None, said.append) as trackers:
        for step in range(2000):
            trackers.step(step, 1.0, 0.1, {"head": 1.0})
    assert time.perf_counter() - started < 10
    assert said == ["warning: the tracker wandb is dropped: it has not ended in time"]
    assert steps_of(noting["mlflow"]) == list(range(2000))
    released.set()


def test_a_tracker_that_cannot_keep_up_is_dropped(tmp_path, noting, monkeypatch):
    said: list[str] = []
    released = threading.Event()
    monkeypatch.setattr(noting["wandb"], "begin", lambda start: released.wait(60))
    monkeypatch.setattr(told, "END_SECONDS", 0.0)
    monkeypatch.setattr(lane, "MOST_WAITING", 100)
    with told.tracked("wandb", tmp_path, None, said.append) as trackers:
        for step in range(200):
            trackers.step(step, 1.0, 0.1, {"head": 1.0})
    assert said == ["warning: the tracker wandb is dropped: 100 rows wait for it"]
    released.set()


def test_only_the_first_process_tracks(tmp_path, noting, monkeypatch):
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    with told.tracked("wandb", tmp_path, None, print) as trackers:
        trackers.step(1, 1.0, 0.1, {"head": 1.0})
    assert noting["wandb"].starts == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_list_of_ids_is_as_none(tmp_path, noting):
    for damaged in ("{", "[1]"):
        (tmp_path / "trackers.json").write_text(damaged)
        with told.tracked("wandb", tmp_path, 3, print):
            pass
    assert [start.run_id for start in noting["wandb"].starts] == [None, None]


def test_what_a_tracker_holds_is_not_told_again(tmp_path, noting, monkeypatch):
    monkeypatch.setattr(noting["wandb"], "begin", lambda _: Begun("old", {"steps/loss": 2}))
    with told.tracked("wandb", tmp_path, 1, print) as trackers:
        for step in (2, 3):
            trackers.step(step, 0.5, 0.1, {"late": 0.5, "head": 1.0})
    rates = {"steps/lr/late": 0.05, "steps/lr/head": 0.1}
    assert noting["wandb"].rows == [Scalars(2, rates), Scalars(3, {"steps/loss": 0.5, **rates})]


def test_numbers_of_an_epoch_have_its_phase_before_them(tmp_path, noting):
    row = {"phase": "full", "global_step": 7, "step": 2, "lr": {"head": 0.1}, "best": True}
    with told.tracked("wandb", tmp_path, None, print) as trackers:
        trackers.epoch(row)
    assert noting["wandb"].rows == [Scalars(7, {"full/lr/head": 0.1, "full/best": 1.0})]


def test_unknown_trackers_are_refused_with_all_other_mistakes(drawn, tiny):
    wrong = config(drawn, "tensorbord, wandb,neptune")
    wrong.seed = -1
    with pytest.raises(UserError) as error:
        load.read(wrong)
    assert error.value.offenders == (
        "config.seed should be from 0 to 2147483647",
        "config.track names 'tensorbord', 'neptune'; known: tensorboard, wandb, mlflow, trackio",
    )


def test_missing_packages_are_refused_before_a_run_alone(drawn, tiny, tmp_path, monkeypatch):
    absent = {"tensorboard": "absent_one", "mlflow": "absent_two"}
    monkeypatch.setattr(tracking, "PACKAGES", {**tracking.PACKAGES, **absent, "wandb": "json"})
    asked = config(drawn, "mlflow,wandb,tensorboard")
    assert load.read(asked).track == "mlflow,wandb,tensorboard"  # as `jaxft plan` and `evaluate`
    asked.seed = -1
    with pytest.raises(UserError) as error:
        run.train(asked, tmp_path / "run")
    assert error.value.offenders == (
        "config.seed should be from 0 to 2147483647",
        "config.track: mlflow needs absent_two: pip install 'jaxft[mlflow]'",
        "config.track: tensorboard needs absent_one: pip install 'jaxft[tensorboard]'",
    )
    assert not (tmp_path / "run").exists()


def test_mlflow_in_a_bucket_takes_a_server(monkeypatch):
    monkeypatch.setattr(tracking, "PACKAGES", {"mlflow": "json"})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (problem,) = tracking.missing("mlflow", "gs://bucket/run")
    assert problem.endswith("set MLFLOW_TRACKING_URI")
    assert list(tracking.missing("mlflow", "runs/photos")) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert list(tracking.missing("mlflow", "gs://bucket/run")) == []


def test_every_tracker_has_a_package_and_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(registry.TRACKERS) == list(tracking.PACKAGES)
    for name, package in tracking.PACKAGES.items():
        (extra,) = project["optional-dependencies"][name]
        assert extra.startswith(f"{package}>=")


def test_parameters_of_mlflow_have_paths_that_it_takes():
    nested = {"phases": [{"name": "head", "lr": 0.1}], "model": {"hidden": [8, 4]}, "seed": 0}
    assert dict(flat(nested)) == {
        "phases.0.name": "head",
        "phases.0.lr": "0.1",
        "model.hidden": "[8, 4]",
        "seed": "0",
    }


def test_wandb_without_a_login_says_what_to_do(tmp_path, at_home, monkeypatch):
    """It would ask at the terminal, in a thread, and nobody could answer."""
    pytest.importorskip("wandb")
    script = (
        "import sys, pathlib\n"
        "from jaxft.report.trackers.tracking import tracked\n"
        "with tracked('wandb', pathlib.Path(sys.argv[1]), None, print): pass\n"
    )
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    command = [sys.executable, "-c", script, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "dropped: UserError: run `wandb login`, or set WANDB_API_KEY" in said


WRITES_TO_A_BUCKET = """
import sys
from jaxft.report.trackers.tracking import tracked
from jaxft.runtime import paths

workdir = paths.of(sys.argv[1])
for done, steps in ((None, (1, 2)), (1, (2, 3))):
    with tracked("tensorboard", workdir, done, print) as trackers:
        for step in steps:
            trackers.step(step, 0.5, 0.1, {"head": 1.0})
        if done:
            trackers.finish(3, {"accuracy": 0.5}, workdir)
"""


@pytest.mark.slow
def test_tensorboard_writes_to_a_bucket(store, new_bucket, tmp_path):
    """In a process of its own, as tensorboardX uploads a last time at its end."""
    pytest.importorskip("tensorboardX")
    workdir = f"gs://{new_bucket}/run"
    draw(tmp_path / "losses.png")
    paths.write(
        paths.of(workdir) / "losses.png",
        lambda file: file.write((tmp_path / "losses.png").read_bytes()),
    )
    command = [sys.executable, "-c", WRITES_TO_A_BUCKET, workdir]
    environment = {**os.environ, **bucket.environment(store)}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert said.stdout == ""
    for name, stored in store.buckets[new_bucket].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(stored.content)
    scalars, pictures, _ = read_tensorboard(tmp_path / "run", "")
    assert scalars["steps/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert pictures == {"losses"}
