"""How many cached views of each image are worth their extraction: the head alone, K by K.

    python bench/views.py [--sets=digits,garments] [--views=1,2,4,8] [--seeds=0,1,2] [--cycles=6]
        [--train=4000] [--valid=2000] [--augmented] [--workdir=DIR]

Trains the head on EfficientNet-Lite0's cached features at 64 px, body frozen, for SGDR cycles of
1 + 2 + 4 + ... epochs at a peak rate of 0.01, with K cached views, once a seed; the views are drawn
anew for every seed. Sets: `digits`, scikit-learn's, as the quickstart splits and augments them;
`garments`, the first --train and --valid images of Debian's package dataset-fashion-mnist, with
jaxft's usual augmentation. --augmented adds the same head trained on freshly augmented images, for
which the body runs in every epoch: what many views can come near.

Prints two Markdown tables a set, of accuracy and loss at the cycles' ends: mean +- standard error
of the mean over the seeds; then one JSON line. What is there in --workdir is not run again.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from folder_data import GARMENTS, idx
from ml_collections import ConfigDict
from PIL import Image

LEARNING_RATE = 0.01


def write_garments(folder: Path, train: int, valid: int) -> None:
    """The first images of both splits as {train,valid}/CLASS/NUMBER.png."""
    for split, prefix, count in (("train", "train", train), ("valid", "t10k", valid)):
        pictures, labels = idx(f"{prefix}-images-idx3-ubyte"), idx(f"{prefix}-labels-idx1-ubyte")
        for number in range(count):
            file = folder / split / GARMENTS[labels[number]] / f"{number:05}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[number]).save(file)


def card(name: str, options: argparse.Namespace) -> ConfigDict:
    """The config of a set, without phases."""
    from jaxft.configs import base, quickstart

    if name == "digits":
        return quickstart.get_config()
    folder = options.workdir / f"garments-{options.train}-{options.valid}"
    if not folder.exists():
        write_garments(folder, options.train, options.valid)
    config = base.get_config()
    config.data.source = f"folder:{folder}"
    config.data.image_size = 64
    return config


def run_one(name: str, arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one set; return the figures of its cycles' ends."""
    from jaxft import run
    from jaxft.configs import base

    config = card(name, options)
    config.seed = config.data.views_seed = seed
    config.cache_dir = str(options.workdir / "cache")
    inputs = {"inputs": "augmented"} if arm == "augmented" else {"inputs": "cached"}
    views = {} if arm == "augmented" else {"views": int(arm)}
    schedule = {"schedule": "sgdr", "cycles": options.cycles, "cycle_mult": 2}
    config.phases = (base.phase(name="head", lr=LEARNING_RATE, **inputs, **views, **schedule),)
    workdir = options.workdir / f"{name}-{arm}-{seed}"
    summary = run.train(config, workdir)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    ends = [rows[2**cycle - 2] for cycle in range(1, options.cycles + 1)]
    kept = ("epoch", "trn_loss", "val_loss", "accuracy")
    print(f"{name}, {arm}, seed {seed}: accuracy {summary['accuracy']:.4f}", file=sys.stderr)
    return {"ends": [{key: row[key] for key in kept} for row in ends]}


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By cycle end: epochs, and (mean, standard error) of what the runs tell."""
    table = []
    for ends in zip(*(run["ends"] for run in runs), strict=True):
        row: dict[str, Any] = {"epochs": ends[0]["epoch"] + 1}
        for key in ("trn_loss", "val_loss", "accuracy"):
            values = np.array([end[key] for end in ends])
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
            row[key] = [round(float(values.mean()), 5), round(float(error), 5)]
        table.append(row)
    return table


def markdown(results: dict[str, list[dict[str, Any]]], key: str, digits: int) -> str:
    """One line for each K: the key at every cycle's end."""
    ends = [f"{row['epochs']} epochs" for row in next(iter(results.values()))]
    lines = [f"| K, {key} | " + " | ".join(ends) + " |", "|---" * (1 + len(ends)) + "|"]
    for arm, table in results.items():
        cells = (f"{row[key][0]:.{digits}f} +- {row[key][1]:.{digits}f}" for row in table)
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Reads the flags, runs all, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", default="digits,garments")
    parser.add_argument("--views", default="1,2,4,8")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cycles", type=int, default=6)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--valid", type=int, default=2000)
    parser.add_argument("--augmented", action="store_true")
    parser.add_argument("--workdir", type=Path, default=None, help="keeps the runs here")
    options = parser.parse_args()
    options.workdir = options.workdir or Path(tempfile.mkdtemp())
    arms = options.views.split(",") + ["augmented"] * options.augmented
    seeds = [int(seed) for seed in options.seeds.split(",")]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in options.sets.split(","):
        results[name] = {}
        for arm in arms:
            runs = [run_one(name, arm, seed, options) for seed in seeds]
            results[name][arm] = summarise(runs)
        for key, digits in (("accuracy", 4), ("val_loss", 3)):
            print(f"\n{name}\n\n{markdown(results[name], key, digits)}", flush=True)
    print(json.dumps({"bench": "views", "seeds": seeds, "results": results}))


if __name__ == "__main__":
    main()
