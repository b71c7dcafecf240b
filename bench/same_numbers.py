"""Whether two revisions train to the same bits: metrics, range tests, weights, programs compiled.

    python bench/same_numbers.py OLD NEW [--config=quickstart] [--out=DIRECTORY]

Checks each revision out beside the other, runs `jaxft train` in both by this interpreter, with a
compilation cache of its own, and compares what they leave: every row of metrics.jsonl but its
times, every learning rate and loss of lr_find/*.json, the digests of the newest checkpoint's state
and best weights, and the number of programs compiled. Prints a line for each; exits 1 where any
differs. A run that is there already, in DIRECTORY/REVISION, is not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TIMES = ("seconds", "images_per_second", "input_wait")
COMPILED = "Finished XLA compilation of"


def main() -> int:
    """Runs both revisions, prints what is the same and what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revisions", nargs=2, metavar="REVISION")
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--out", type=Path, help="where runs are kept; else nowhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        out = (options.out or Path(aside)).absolute()
        left, right = (found(out, name, options.config) for name in options.revisions)
    for name, value in left.items():
        print(f"{name}: {'the same' if value == right[name] else 'DIFFERS'}")
        if value != right[name]:
            print(f"  {options.revisions[0]}: {value}\n  {options.revisions[1]}: {right[name]}")
    return int(left != right)


def found(out: Path, revision: str, config: str) -> dict[str, Any]:
    """Findings of a revision's run, by name; the run is made if it is not there."""
    commit = git("rev-parse", "--short=12", f"{revision}^{{commit}}")
    workdir = out / commit / config
    if not (workdir / "summary.json").exists():
        train(out / commit, commit, workdir, config)
    newest = max((workdir / "checkpoints").iterdir(), key=lambda place: int(place.name))
    log = (workdir.parent / f"{config}.log").read_text(errors="replace")
    return {
        "metrics": [without_times(line) for line in lines(workdir / "metrics.jsonl")],
        "range tests": {
            file.name: json.loads(file.read_text())
            for file in sorted((workdir / "lr_find").glob("*.json"))
        },
        "weights": json.loads((newest / "cursor" / "metadata").read_text())["digests"],
        "programs compiled": log.count(COMPILED),
    }


def train(place: Path, commit: str, workdir: Path, config: str) -> None:
    """Check a revision out and run it; all it prints goes into a log beside the workdir."""
    source = place / "source"
    git("worktree", "add", "--detach", "--force", str(source), commit)
    try:
        (source / "jaxft" / "configs").symlink_to("../configs")
        with open(place / f"{config}.log", "wb") as log:
            subprocess.run(
                [
                    *(sys.executable, "-m", "jaxft", "train"),
                    *(f"--config={config}", f"--workdir={workdir}", "--distributed=off"),
                ],
                cwd=source,
                env={
                    **os.environ,
                    "PYTHONPATH": str(source),
                    "JAX_LOG_COMPILES": "1",
                    "XDG_CACHE_HOME": str(place / "cache"),
                },
                stdout=log,
                stderr=log,
                check=True,
            )
    finally:
        git("worktree", "remove", "--force", str(source))


def lines(file: Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics.jsonl less what the clock says."""
    return {key: value for key, value in row.items() if key not in TIMES}


def git(*arguments: str) -> str:
    """Output of a git command."""
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
