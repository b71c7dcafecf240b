"""Killed anywhere, a run is resumed by the same command and ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import SUPPORT
from same_end import assert_same_end, rows

pytestmark = [pytest.mark.one_device, pytest.mark.second_process]

KILLED = -9


@pytest.fixture(scope="module")
def begin(tmp_path_factory, drawn):
    """Begins `jaxft train` on the workdir `name` in a process of its own, told where to die."""
    root = tmp_path_factory.mktemp("faults")
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(root / "cache"),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
    }

    def run(place, name, *overrides):
        command = [
            sys.executable,
            str(SUPPORT / "tiny_main.py"),
            place,
            "train",
            f"--config={SUPPORT / 'tiny_config.py'}:{drawn}",
            f"--workdir={root / name}",
            "--config.deterministic=true",  # for a GPU
            *overrides,
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
        return root / name, process

    return run


@pytest.fixture(scope="module")
def start(begin):
    """The same to its end; -> the workdir, and how it ended."""

    def run(place, name, *overrides):
        workdir, process = begin(place, name, *overrides)
        with process:
            try:
                told = process.communicate(timeout=300)
            finally:
                process.kill()
        return workdir, subprocess.CompletedProcess(process.args, process.returncode, *told)

    return run


@pytest.fixture(scope="module")
def untouched(start):
    """The workdir of a run that nothing happened to."""
    workdir, done = start("none", "untouched")
    assert done.returncode == 0, done.stderr
    assert json.loads((workdir / "summary.json").read_text())["ended_by"] == "max_cycles"
    assert len([*(workdir / "lr_find").glob("*.json")]) == 2
    return workdir


# Each start of one run ends here, beginning with the first phase; the run has 7 epochs, and a
# checkpoint at the end of each. (place, the steps that the next start finds done)
DEATHS = [
    ("find:9", 0),  # in the first range test
    ("step:head_cached:4", 0),  # with the first checkpoint's save under way
    ("row:1", 0),  # a row in metrics.jsonl that no checkpoint knows
    ("save:1", None),  # while it is being written
    ("committing:2", None),  # while it gets its name
    ("step:head_augmented:1", 6),
    ("committing:4", 9),  # the last of a phase
    ("find:5", 12),  # in the second range test
    ("step:full:1", 12),
    ("ended:1", 15),
    ("step:full:4", 15),
    ("row:1", 15),
]


@pytest.mark.slow
def test_sigkill_anywhere_changes_nothing(start, untouched):
    """A dozen deaths in one run, one for each start, then a start that is left alone."""
    for place, _ in DEATHS:
        workdir, done = start(place, "killed")
        assert done.returncode == KILLED, f"{place}: {done.returncode}\n{done.stderr}"
        assert not (workdir / "summary.json").exists()
    workdir, done = start("none", "killed")
    assert done.returncode == 0, done.stderr
    assert_same_end(workdir, untouched)
    starts = rows(workdir / "starts.jsonl")
    assert [row["ended_by"] for row in starts] == ["interrupted"] * len(DEATHS) + ["max_cycles"]
    assert [row["from_step"] for row in starts[1:]] == [row["to_step"] for row in starts[:-1]]
    for (place, reached), row in zip(DEATHS, starts, strict=False):
        assert reached is None or row["to_step"] == reached, place


@pytest.mark.slow
def test_a_run_that_is_made_longer_may_be_killed(start, untouched):
    shorter = "--config.phases[2].max_cycles=1"
    workdir, done = start("none", "longer", shorter)
    assert done.returncode == 0, done.stderr
    # In the second cycle's epochs, at their ends, at the phase's end, and at the run's.
    for place in ("step:full:4", "ended:1", "step:full:7", "ended:1", "ended:1"):
        workdir, done = start(place, "longer")
        assert done.returncode == KILLED, f"{place}: {done.returncode}\n{done.stderr}"
        assert json.loads((workdir / "summary.json").read_text())["ended_by"] == "interrupted"
    _, done = start("none", "longer", shorter)
    assert done.returncode == 2 and "it can be made longer, not shorter" in done.stderr
    workdir, done = start("none", "longer")
    assert done.returncode == 0, done.stderr
    assert_same_end(workdir, untouched)


@pytest.mark.slow
def test_an_extraction_that_was_killed_goes_on_from_its_last_whole_part(start, untouched):
    shutil.rmtree(untouched.parent / "cache" / "jaxft" / "features")
    _, done = start("part:4", "extracting")  # both of the validation, two of four
    assert done.returncode == KILLED, done.stderr
    workdir, done = start("none", "extracting")
    assert done.returncode == 0, done.stderr
    assert "features of valid: 13 from the cache" in done.stdout
    assert "features of train: 16 of 29 from the cache" in done.stdout
    assert_same_end(workdir, untouched)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, done_steps", [("term-step:head_augmented:1", 8), ("term-find:5", 0)]
)
def test_sigterm_saves_at_once_and_exits_75(place, done_steps, start, untouched):
    workdir, done = start(place, f"terminated {place}")
    assert done.returncode == 75, done.stderr
    assert "resumes" in done.stderr and "Traceback" not in done.stderr
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["ended_by"] == "interrupted"
    (row,) = rows(workdir / "starts.jsonl")
    assert done_steps <= row["to_step"] <= done_steps + 1
    workdir, done = start("none", f"terminated {place}")
    assert done.returncode == 0, done.stderr
    assert_same_end(workdir, untouched)


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_leaves_true_records(start, untouched):
    workdir, done = start("twice-step:head_augmented:1", "twice")
    assert done.returncode == 75, done.stderr
    assert "interrupted at once" in done.stderr and "Traceback" not in done.stderr
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["ended_by"] == "interrupted"
    (row,) = rows(workdir / "starts.jsonl")
    assert row["ended_by"] == "interrupted" and row["to_step"] == 6
    workdir, done = start("none", "twice")
    assert done.returncode == 0, done.stderr
    assert_same_end(workdir, untouched)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_exits_3(start):
    overrides = ("--config.phases[0].lr=1e30", "--config.phases[0].warmup_epochs=0")
    workdir, done = start("none", "diverged", *overrides)
    assert done.returncode == 3, done.stderr
    assert "with a lower rate" in done.stderr and "Traceback" not in done.stderr
    assert "--config.phases.head_cached.lr=3.3e+29" in done.stderr
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["ended_by"] == "nonfinite"
    assert summary["diverged"] == {"phase": "head_cached", "lr": 1e30}


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_an_epoch_not_the_run(start, untouched):
    workdir, done = start("ended:3", "damaged")
    assert done.returncode == KILLED, done.stderr
    for path in (workdir / "checkpoints" / "3" / "state").rglob("d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    workdir, done = start("none", "damaged")
    assert done.returncode == 0, done.stderr
    assert "checkpoint 3 is damaged" in done.stdout
    assert_same_end(workdir, untouched)


# Nothing is kept in memory, so that two processes decode; the phase is too long to end by itself.
WORKERS = (
    "--config.data.workers=2",
    "--config.data.memory_gb=0",
    "--config.phases[0].inputs=augmented",
    "--config.phases[0].lr=0.01",
    "--config.phases[0].epochs=5000",
)


def workers_of(process):
    """The ids of a process's workers, once it trains from what they read."""
    for line in process.stdout:
        if line.split()[:1] == ["0"]:  # the row of the first epoch
            break
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [pid for children in threads for pid in children.read_text().split()]
    spawned = [pid for pid in children if b"spawn_main" in command_of(pid)]
    assert len(spawned) == 2, children
    return [int(pid) for pid in spawned]


def command_of(pid):
    """Command line of a process; empty if it has ended or is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["a worker", "all of them by Ctrl-C", "the run itself"])
def test_workers_that_are_killed_and_workers_that_are_left(begin, whom):
    workdir, process = begin("none", f"workers {whom}", *WORKERS)
    with process:
        try:
            workers = workers_of(process)
            if whom == "a worker":
                os.kill(workers[0], signal.SIGKILL)
            elif whom == "the run itself":
                process.kill()
            else:  # a terminal sends it to every process
                for pid in (*workers, process.pid):
                    os.kill(pid, signal.SIGINT)
            killed = time.monotonic()
            _, errors = process.communicate(timeout=60)
            took = time.monotonic() - killed
        finally:
            process.kill()
    if whom == "a worker":
        assert process.returncode == 2 and took < 10, (took, errors)
        assert "killed by SIGKILL" in errors and "--config.data.workers" in errors
        assert "Traceback" not in errors
    elif whom == "the run itself":
        assert process.returncode == KILLED
    else:
        assert process.returncode == 75, errors
        assert json.loads((workdir / "summary.json").read_text())["ended_by"] == "interrupted"
    until = time.monotonic() + 10
    while any(map(command_of, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(command_of, workers)), "an orphan"
