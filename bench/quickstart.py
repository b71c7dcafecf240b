"""The quickstart's accuracy for several seeds, beside a linear probe and an RBF-SVM on pixels.

    python bench/quickstart.py [--seeds=0,1,2] [--workdir=DIR]

Runs `jaxft train --config=quickstart` once a seed, each as a process of its own, and on the same
split of the 1,797 digits: logistic regression on EfficientNet-Lite0's average-pooled features at
the same image size (the linear probe), and a support vector machine with a radial basis function
kernel on the 8 x 8 pixels. Prints one JSON line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def run_seed(seed: int, workdir: Path) -> dict:
    """One run of the quickstart; its summary, and the wall clock of the whole command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "jaxft", "train", "--config=quickstart"]
    subprocess.run(
        [*command, f"--config.seed={seed}", f"--workdir={workdir}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    summary = json.loads((workdir / "summary.json").read_text())
    return {
        "seed": seed,
        "accuracy": summary["accuracy"],
        "val_loss": summary["val_loss"],
        "by_phase": {phase["name"]: phase["accuracy"] for phase in summary["phases"]},
        "lr": {phase["name"]: phase["lr"] for phase in summary["phases"]},
        "ended_by": summary["ended_by"],
        "seconds": round(time.perf_counter() - started, 1),
    }


def baselines() -> dict:
    """Accuracies of the linear probe and of the SVM, each the best of a few penalties."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from jaxft.configs import quickstart
    from jaxft.devices import sharding
    from jaxft.materials import extraction, opening
    from jaxft.materials.start_up import start_up
    from jaxft.runtime.console import Console

    config = quickstart.get_config()
    config.model.pooling = "avg"
    settings, _ = start_up(config)
    materials, weights = opening.prepare(settings, Console(None))
    weights = sharding.replicate(weights, materials.mesh)
    sides = {}
    for which in ("train", "valid"):
        split = getattr(materials.dataset, which)
        images = materials.train_images if which == "train" else materials.valid_images
        features = extraction.extract(materials, weights, images, which)
        pixels = np.stack([split.read(i)[..., 0].ravel() for i in range(len(split))])
        sides[which] = features, pixels / 255, split.labels
    scaler = StandardScaler().fit(sides["train"][0])
    probe = max(
        LogisticRegression(C=c, max_iter=2000)
        .fit(scaler.transform(sides["train"][0]), sides["train"][2])
        .score(scaler.transform(sides["valid"][0]), sides["valid"][2])
        for c in (0.001, 0.01, 0.1, 1.0)
    )
    svm = max(
        SVC(C=c, gamma="scale")
        .fit(sides["train"][1], sides["train"][2])
        .score(sides["valid"][1], sides["valid"][2])
        for c in (1.0, 10.0, 100.0)
    )
    return {"linear_probe": probe, "rbf_svm_on_pixels": svm}


def main() -> None:
    """Reads the flags, runs the seeds, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", default=None, help="keeps the runs here")
    options = parser.parse_args()
    root = Path(options.workdir or tempfile.mkdtemp())
    runs = [run_seed(int(seed), root / f"seed{seed}") for seed in options.seeds.split(",")]
    accuracies = [run["accuracy"] for run in runs]
    result = {
        "bench": "quickstart",
        "mean_accuracy": float(np.mean(accuracies)),
        "min_accuracy": min(accuracies),
        **baselines(),
        "runs": runs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
