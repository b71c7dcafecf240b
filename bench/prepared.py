"""A prepared data set: how fast it opens, and whether training from it keeps up with the step.

    python bench/prepared.py [--images=20000] [--rounds=3] [--repeats=40]

Draws small JPEGs (96 x 72, crops of the two photos that scikit-learn carries), has `jaxft prepare
--format=raw` make a data set of them, and asks

  open     the seconds that `run.open_data` takes in a new process, imports aside
  train    images/s of EfficientNet-Lite0's full train step at 64 pixels, batch 64, as `jaxft bench`
           times it: on made-up batches that lie ready, on the set's images kept in memory (the
           default), and on the set's images read and decoded for every batch (memory_gb=0)

The three are timed in turn, A B C A B C. Prints one JSON line; ratios are over made-up batches.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import input_pipeline
from jaxft.config import load
from jaxft.config.resolve import resolved
from jaxft.config.settings import Settings
from jaxft.configs import base
from jaxft.costs import bench
from jaxft.costs.assumptions import sizes_of
from jaxft.devices import provenance, topology
from jaxft.materials.data import open_data
from jaxft.runtime.console import Console
from jaxft.runtime.set_up import set_up

SIDE, SIZE = 71, 64  # the canvas of 64 pixels, so that nothing is left to resize
KINDS = {"made up": None, "in memory": -1.0, "read each time": 0.0}  # data.memory_gb


def settings_of(data: str, memory_gb: float, cache: str) -> Settings:
    """One phase that trains every layer."""
    config = base.get_config()
    config.data.source, config.data.image_size = f"tfds_dir:{data}", SIZE
    config.data.memory_gb, config.cache_dir = memory_gb, cache
    config.model.weights = "none"
    groups = {"early": 0.1, "late": 0.3, "head": 1.0}
    config.phases = (base.phase(name="full", groups=groups, lr=0.01, epochs=10),)
    return load.from_dict(resolved(config))


def opening(data: str) -> float:
    """Seconds, in this process."""
    settings = settings_of(data, 0.0, "")
    started = time.perf_counter()
    dataset = open_data(settings)
    seconds = time.perf_counter() - started
    print(f"{len(dataset.train)} and {len(dataset.valid)} images", file=sys.stderr)
    return seconds


def rates(folder: Path, rounds: int, repeats: int) -> dict[str, list[float]]:
    """Images/s by kind, a figure for each round."""
    console, target = Console(sys.stderr), topology.here()
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, memory_gb in KINDS.items():
            settings = settings_of(f"{folder}/set", memory_gb or 0.0, f"{folder}/cache")
            set_up(settings.cache_dir)
            if memory_gb is None:
                sizes = sizes_of(settings, None, None)
                job = bench.synthetic(settings, sizes, target, repeats, console)
            else:
                job = bench.real(settings, target, repeats, console)
            (full,) = [row for row in bench.make(job) if row.program == "full"]
            found[kind].append(full.images_per_second)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--open", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opening(options.open)))
        return
    with tempfile.TemporaryDirectory() as folder:
        input_pipeline.draw(Path(folder, "files"), options.images, (96, 72))
        command = [sys.executable, "-m", "jaxft", "prepare", f"--source=folder:{folder}/files"]
        made = [f"--output={folder}/set", f"--shorter-side={SIDE}", "--format=raw"]
        started = time.perf_counter()
        subprocess.run([*command, *made], stdout=sys.stderr, check=True)
        prepared = time.perf_counter() - started
        again = [sys.executable, __file__, f"--open={folder}/set"]
        opened = [
            float(subprocess.run(again, capture_output=True, text=True, check=True).stdout)
            for _ in range(options.rounds)
        ]
        found = rates(Path(folder), options.rounds, options.repeats)
    middle = {kind: statistics.median(figures) for kind, figures in found.items()}
    line = {
        "bench": "prepared",
        "images": options.images,
        "prepare_seconds": prepared,
        "open_seconds": opened,
        "images_per_second": found,
        "ratios": {kind: rate / middle["made up"] for kind, rate in middle.items()},
        "versions": provenance.versions(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
