"""64 heads at once beside as many runs, one after another, on the quickstart's cached features.

    python bench/sweep.py [--runs=4]

Both sides are commands in processes of their own, with what they compile in a cache that is empty
at first; features are extracted before. `--runs` separate runs are made, of the settings that the
sweep ranked first, and their mean stands for the others. It prints seconds, the ratio, and how far
apart the validation losses of a run and of its head in the sweep are.
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

from ml_collections import ConfigDict

GRID = ("--lr=3e-4,1e-3,3e-3,1e-2", "--weight-decay=0,0.01", "--dropout=0.25,0.5", "--seeds=2")


def get_config(**values: Any) -> ConfigDict:
    """The quickstart's first phase alone, four epochs; `values` are those of a sweep's row."""
    from jaxft.configs import quickstart

    config = quickstart.get_config()
    config.phases = config.phases[:1]
    config.phases[0].epochs, config.phases[0].lr = 4, values.get("lr", 1e-3)
    config.optimizer.weight_decay = values.get("weight_decay", 0.0)
    rate = values.get("dropout", 0.5)
    config.model.dropout = (rate / 2, rate)
    config.augment.label_smoothing = values.get("smoothing", 0.0)
    return config


def jaxft(verb: str, card: str, cache: Path, *flags: str) -> float:
    """Run a command with its compiled programs in `cache`; return its seconds."""
    command = [sys.executable, "-m", "jaxft", verb, f"--config={card}", *flags]
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    started = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def card_of(folder: Path, number: int, row: dict[str, Any]) -> str:
    """Write a config file of a row's values; return its name."""
    kept = {key: row[key] for key in ("lr", "weight_decay", "dropout", "smoothing")}
    text = f"import sys\n\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport sweep\n"
    file = folder / f"card{number}.py"
    file.write_text(f"{text}\n\ndef get_config():\n    return sweep.get_config(**{kept!r})\n")
    return str(file)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4, help="separate runs that are made")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jaxft("train", __file__, folder / "before", f"--workdir={folder / 'before_run'}")
        place = folder / "sweep"
        together = jaxft("sweep", __file__, folder / "one", f"--workdir={place}", *GRID)
        rows = json.loads((place / "sweep.json").read_text())["settings"]
        heads = sum(len(row["by_seed"]) for row in rows)
        seconds, apart = [], []
        for number, row in enumerate(rows[:runs]):
            workdir = folder / f"run{number}"
            card = card_of(folder, number, row)
            seconds.append(jaxft("train", card, folder / "other", f"--workdir={workdir}"))
            last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
            apart.append(abs(last["val_loss"] / row["by_seed"][0]["val_loss"] - 1))
        separate = heads * sum(seconds) / len(seconds)
        each = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"{heads} heads at once: {together:.1f} s")
        print(f"separate runs: {each} s; {heads} of them {separate:.0f} s")
        print(f"{separate / together:.1f} times as fast; losses apart by {max(apart):.1e} at most")


if __name__ == "__main__":
    main()
