"""How far images are from those that a body's BatchNorm statistics stand for, by size and layer.

    python bench/distance.py --data=DIRECTORY [--config=folder] [--image-sizes=96,160]
                             [--out=FILE.jsonl] [--config.KEY=VALUE ...]

DIRECTORY holds data sets as folders, such as `data` of `bench/proving_ground.py --data-only`.
Prints, for each and each image size, the mean over each group's layers of the distance
(training/statistics.py: nats a channel), on the images and views of the config's last phase; a run
tells that of its last group with the rate. `--out` gets each layer's. It trains nothing.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jaxft.cli.config_file import load_config
from jaxft.materials.opening import prepare
from jaxft.materials.start_up import start_up
from jaxft.recipe.finder.distance import DISTANCE_SIZE
from jaxft.runtime import digests
from jaxft.runtime.console import Console
from jaxft.training import rebase, statistics
from jaxft.training.phase_spec import make_spec


def layers(config: object) -> dict[str, float]:
    """The distance of each BatchNorm of the body, by its path, mean over channels."""
    settings, _ = start_up(config)
    index = len(settings.phases) - 1
    materials, weights = prepare(settings, Console(None), phase=index)
    spec = make_spec(materials, index)
    before = digests.flat({group: weights.batch_stats[group] for group in spec.rebased})
    scaled = rebase.make_moments(spec, materials, size=DISTANCE_SIZE)
    found = rebase.pooled_over(spec, materials, weights, scaled, rebase.batches(spec))
    now = digests.flat(found)
    paths = [name.removesuffix("mean") for name in before if name.endswith("mean")]
    return {path: statistics.distance(of(before, path), of(now, path)) for path in paths}


def by_group(found: dict[str, float]) -> dict[str, float]:
    """Mean over the layers of each group, which is the first part of a path."""
    values: dict[str, list[float]] = {}
    for path, distance in found.items():
        values.setdefault(path.partition(".")[0], []).append(distance)
    return {group: float(np.mean(each)) for group, each in values.items()}


def of(statistics: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    """Mean and variance of one layer."""
    return {name: statistics[f"{path}{name}"] for name in ("mean", "var")}


def main() -> None:
    """Reads the flags and prints a line for each data set and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--config", default="folder")
    parser.add_argument("--image-sizes", default="96,160", help="pixels, comma-separated")
    parser.add_argument("--out", type=Path)
    options, flags = parser.parse_known_args()
    if not options.data.is_dir():
        parser.error(f"no such folder: {options.data}")
    for folder in sorted(path for path in options.data.iterdir() if path.is_dir()):
        for size in map(int, options.image_sizes.split(",")):
            given = [f"--config.data.source=folder:{folder}", f"--config.data.image_size={size}"]
            found = layers(load_config(options.config, [*given, *flags]))
            means = by_group(found)
            told = ", ".join(f"{group} {mean:.3f}" for group, mean in means.items())
            print(f"{folder.name} {size} px: {told}", flush=True)
            if options.out:
                line = {"data": folder.name, "image_size": size, **means, "layers": found}
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
