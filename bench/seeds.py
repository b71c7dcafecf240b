"""A config's accuracy for several seeds, on the validation split and on the test split.

    python bench/seeds.py --config=fashion_mnist [--seeds=0,1,2] [--workdir=DIR]
                          [--config.KEY=VALUE ...]

Runs `jaxft train` once a seed, each as a process of its own (in a --workdir that holds finished
runs they are only read), then `jaxft evaluate --split=test`. Prints one JSON line a seed, and one
with means and standard errors. A data set without a test split is told so by `evaluate`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def jaxft(*arguments: str) -> str:
    """What a command prints; its progress is left out."""
    command = [sys.executable, "-m", "jaxft", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_seed(config: list[str], seed: int, workdir: Path) -> dict:
    """One run: accuracies of its best weights, and its seconds, start-up and compilation too."""
    jaxft("train", *config, f"--config.seed={seed}", f"--workdir={workdir}")
    summary = json.loads((workdir / "summary.json").read_text())
    test = json.loads(jaxft("evaluate", f"--workdir={workdir}", "--split=test"))
    return {
        "seed": seed,
        "valid": summary["accuracy"],
        "test": test["accuracy"],
        "seconds": round(summary["seconds"], 1),
        "cores": len(os.sched_getaffinity(0)),
        "phases": [
            {key: phase[key] for key in ("name", "lr", "epochs", "accuracy", "seconds")}
            for phase in summary["phases"]
        ],
    }


def main() -> None:
    """Reads the flags, runs the seeds, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", default=None, help="keeps the runs here")
    options, overrides = parser.parse_known_args()
    root = Path(options.workdir or tempfile.mkdtemp())
    config = [f"--config={options.config}", *overrides]
    runs = []
    for seed in options.seeds.split(","):
        runs.append(run_seed(config, int(seed), root / f"seed{seed}"))
        print(json.dumps({"bench": "seeds", "config": options.config, **runs[-1]}), flush=True)
    result: dict = {"bench": "seeds", "config": options.config, "runs": len(runs)}
    for which in ("valid", "test"):
        found = [run[which] for run in runs]
        error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else None
        result |= {which: float(np.mean(found)), f"{which}_standard_error": error}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
