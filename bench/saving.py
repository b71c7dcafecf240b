"""How long saving holds a run up, and how long restoring a large network's state takes.

    python bench/saving.py [--config=quickstart] [--model=resnext101_64x4d] [--cores=2]
        [--workdir=DIR] [--only=run|restore]

Prints two JSON lines. `run`: a whole run of the config, with the seconds in which it did nothing
but save or wait for a save (`saving_seconds` of summary.json: copies to the host, handing over,
the wait at the run's end), as a share of the wall clock. `restore`: the full state of the model
with SGD's momentum, with random numbers: how long `save` holds its caller up, how long writing
takes behind its back, without and with the reading back of a start's first checkpoint, and how
long a new process takes to read it, its digests held against it, from the disk and again from the
system's cache of files. On a machine that others use the seconds of the CPU say more than those of
the clock: no restore is faster than they are, divided by the cores. `load` is the machine's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 128


def run_of(config: str, workdir: Path) -> dict:
    """Run a config; return the share of saving in its time."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "jaxft", "train", f"--config={config}"]
    subprocess.run([*command, f"--workdir={workdir}"], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    summary = json.loads((workdir / "summary.json").read_text())
    return {
        "bench": "saving",
        "config": config,
        "wall_seconds": round(wall, 1),
        "saving_seconds": round(summary["saving_seconds"], 2),
        "share": round(summary["saving_seconds"] / wall, 4),
        "accuracy": summary["accuracy"],
        "checkpoints": len(list((workdir / "checkpoints").iterdir())),
        "load": round(os.getloadavg()[0], 1),
    }


def full_state(model: str) -> Any:
    """Draw the arrays of a checkpoint in the middle of training all of a network."""
    import jax

    from jaxft.config import load
    from jaxft.configs import base
    from jaxft.models.registry import create
    from jaxft.models.variables import Weights
    from jaxft.runtime import digests
    from jaxft.training.spec import spec_of
    from jaxft.training.step import state_shapes
    from jaxft.workdir.cursor import Cursor
    from jaxft.workdir.snapshot import Best, Midway, Snapshot, pack

    config = base.get_config()
    config.phases = (base.phase(name="full", groups={"early": 1.0, "late": 1.0, "head": 1.0}),)
    spec = spec_of(load.read(config), create(model, CLASSES, hidden=()), 0, examples=10_000)
    numbers = np.random.default_rng(0)

    def draw(leaf: Any) -> np.ndarray:
        return numbers.standard_normal(leaf.shape, np.float32).astype(leaf.dtype)

    state = jax.tree.map(draw, state_shapes(spec))
    best = jax.tree.map(draw, Weights(state.params, state.batch_stats))
    midway = Midway(7, digests.flat(state.opt_state), None)
    weights = Weights(state.params, state.batch_stats)
    return pack(Snapshot(weights, Best(best, np.zeros(0)), midway), Cursor())


def restore_of(model: str, workdir: Path) -> dict:
    """Save a network's state three times, and read it in a process of its own."""
    from jaxft.workdir import room
    from jaxft.workdir.saving import Checkpoints

    checkpoint = full_state(model)
    checkpoints = Checkpoints(workdir)
    held_up, behind = [], []
    for number in (1, 2, 3):
        checkpoint.best["losses"] = np.full(8, number)  # a new best epoch each time
        started = time.perf_counter()
        checkpoints.save(number, checkpoint)
        held_up.append(time.perf_counter() - started)
        checkpoints.wait()
        behind.append(time.perf_counter() - started)
    checkpoints.close()
    command = [sys.executable, __file__, f"--read={workdir}"]
    return {
        "bench": "restoring",
        "model": model,
        "gigabytes": round(room.size((checkpoint.state, checkpoint.best)) / 1e9, 3),
        "held_up_seconds": round(max(held_up), 4),
        "first_written_and_read_back_seconds": round(behind[0], 2),
        "written_seconds": round(behind[-1], 2),
        "load": round(os.getloadavg()[0], 1),
        **json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout),
    }


def read(workdir: Path) -> dict:
    """Read a workdir's newest checkpoint, at first with none of it in memory."""
    from jaxft.workdir import checkpoint

    os.sync()
    for file in (place for place in workdir.rglob("*") if place.is_file()):
        with file.open("rb") as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seconds = {}
    for name in ("restore_seconds", "restore_again_seconds"):
        started, computed = time.perf_counter(), time.process_time()
        checkpoint.read_newest(workdir)
        seconds[name] = round(time.perf_counter() - started, 2)
        seconds[name.replace("seconds", "cpu_seconds")] = round(time.process_time() - computed, 2)
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--model", default="resnext101_64x4d")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--workdir", default="", help='must not be there yet ("": a temporary one)')
    parser.add_argument("--only", default="", choices=("run", "restore"))
    parser.add_argument("--read", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    if options.read:
        print(json.dumps(read(Path(options.read))))
        return
    with tempfile.TemporaryDirectory() as aside:
        root = Path(options.workdir or aside)
        if options.only != "restore":
            print(json.dumps(run_of(options.config, root / "run")), flush=True)
        if options.only != "run":
            (root / "restore").mkdir(parents=True)
            print(json.dumps(restore_of(options.model, root / "restore")))


if __name__ == "__main__":
    main()
