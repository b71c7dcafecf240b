"""How flattering it is to end with the best epoch: chosen by some images, scored on others.

    python bench/choose_epoch.py --data=DIRECTORY [--out=DIRECTORY] [--sets=stamps,scenes]
                                 [--seeds=0,1] [--config.KEY=VALUE ...]

DIRECTORY is of bench/folder_data.py, e.g. with --train=600 --valid=800. Trains `--config=folder` at
64 px once a set and seed, all cycles, and keeps every validation example's loss and hit of every
epoch in --out (a run that is there is not made again). Then, 400 times a run, half of the
validation images choose an epoch, by accuracy or loss, among all epochs or cycle ends alone, and
the others score it. Prints a JSON line a way: means over the runs of accuracy and loss on the
images that did not choose, and of the optimism, the chosen epoch's accuracy on those that did less
its accuracy on the others.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from jaxft import run
from jaxft.cli.config_file import load_config
from jaxft.training import loop

HALVINGS = 400


def evaluations(config: Any, workdir: Path) -> list[Any]:
    """Train; returns the metrics.Evaluation of every epoch."""
    found, evaluate = [], loop.evaluate_weights

    def keeping(*arguments: Any) -> Any:
        found.append(evaluate(*arguments))
        return found[-1]

    loop.evaluate_weights = keeping
    try:
        run.train(config, workdir)
    finally:
        loop.evaluate_weights = evaluate
    return found


def rows_of(workdir: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl."""
    return [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]


def record(out: Path, data: Path, seed: int, flags: list[str]) -> None:
    """Train once; writes the losses and hits of every epoch, [epochs, examples]."""
    fixed = [f"--config.data.source=folder:{data}", "--config.data.image_size=64"]
    fixed += [f"--config.seed={seed}", "--config.overfit.t=1e9"]
    found = evaluations(load_config("folder", [*fixed, *flags]), out.with_suffix(""))
    hits = [one.probabilities.argmax(1) == one.labels for one in found]
    places = [(row["phase"], row["cycle"]) for row in rows_of(out.with_suffix(""))]
    ends = [i for i, place in enumerate(places) if place not in places[i + 1 :]]
    np.savez(out, losses=np.stack([one.losses for one in found]), hits=np.stack(hits), ends=ends)


def halved(run: Any, by: str, among: str) -> np.ndarray:
    """Accuracy and loss on the half that did not choose, and the optimism: means of halvings."""
    random, losses, hits = np.random.default_rng(0), run["losses"], run["hits"].astype(float)
    epochs = np.arange(len(losses)) if among == "epochs" else run["ends"]
    scored = []
    for _ in range(HALVINGS):
        choosing, other = np.array_split(random.permutation(losses.shape[1]), 2)
        accuracy, loss = (x[epochs][:, choosing].mean(1) for x in (hits, losses))
        best = np.lexsort((-loss, accuracy) if by == "accuracy" else (accuracy, -loss))[-1]
        epoch = epochs[best]
        there = hits[epoch, other].mean()
        scored.append((there, losses[epoch, other].mean(), accuracy[best] - there))
    return np.mean(scored, axis=0)


def run_all() -> None:
    """Read the flags, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/choose_epoch"))
    parser.add_argument("--sets", default="stamps,scenes,garments,digits")
    parser.add_argument("--seeds", default="0,1")
    options, flags = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, seed in product(options.sets.split(","), options.seeds.split(",")):
        files.append(options.out / f"{name}{seed}.npz")
        if not files[-1].exists():
            record(files[-1], options.data / name, int(seed), flags)
    runs = [dict(np.load(file)) for file in files]
    for by, among in product(("accuracy", "val_loss"), ("epochs", "cycle ends")):
        means = np.mean([halved(run, by, among) for run in runs], axis=0)
        figures = dict(zip(("accuracy", "val_loss", "optimism"), means.round(4), strict=True))
        told = {"bench": "choose_epoch", "by": by, "among": among, "runs": len(runs)}
        print(json.dumps(told | figures))


if __name__ == "__main__":
    run_all()
