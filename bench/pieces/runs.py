"""`jaxft train` of the quickstart: its accuracy, and if a run that was stopped ends the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pieces import gauge
from pieces.report import Report
from pieces.setting import Setting

# Signals, and after which share of the whole run's epochs each is sent.
STOPS = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 0.6))
EPOCHS = "metrics.jsonl"  # in a workdir, a line for every epoch
STARTS = "starts.jsonl"  # in a workdir, a line for every start


def quickstart(setting: Setting, report: Report) -> None:
    """A run, and another that is told to stop, resumed, killed, resumed; then both compared."""
    report.about(device=gauge.tell("name") or "cpu")
    folder = Path(setting.folder, "runs", str(time.time_ns()))
    whole, stopped = folder / "whole", folder / "stopped"
    with report.guard("train"):
        before = time.monotonic()
        run(setting, whole)
        report.line("train", lowering="whole", **about(whole), seconds=time.monotonic() - before)
        epochs = lines_of(whole / EPOCHS)
        stops = STOPS[:1] if setting.tiny else STOPS
        codes = [run(setting, stopped, *stop, epochs) for stop in stops]
        run(setting, stopped)
        report.line("train", lowering="stopped", **about(stopped), codes=codes)
        same, versions = compare(whole, stopped)
        report.about(versions=versions)
        report.line("resume", same_best_weights=same)


def run(
    setting: Setting, workdir: Path, number: int | None = None, share: float = 1.0, epochs: int = 0
) -> int:
    """Runs the recipe, or goes on with it.

    Args:
      number: a signal to send after this share of so many epochs.

    Returns:
      The exit code.

    Raises:
      RuntimeError: it failed though no signal was to be sent, or ended before one was.
    """
    card = str(Path(__file__).with_name("tiny_card.py")) if setting.tiny else "quickstart"
    command = [sys.executable, "-m", "jaxft", "train", f"--config={card}", "--distributed=off"]
    process = subprocess.Popen([*command, f"--workdir={workdir}"], stdout=sys.stderr)
    if number is not None:
        while process.poll() is None and lines_of(workdir / EPOCHS) < share * epochs:
            time.sleep(0.005)
        process.send_signal(number)
    code = process.wait()
    if (code == 0) != (number is None):
        raise RuntimeError(f"jaxft train ended with {code}")
    return code


def lines_of(file: Path) -> int:
    """The number of lines of a file; 0 where there is none."""
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def about(workdir: Path) -> dict[str, Any]:
    """Outcome of a run, as it tells: accuracy, and how each phase went."""
    summary = json.loads((workdir / "summary.json").read_text())
    phases = {phase["name"]: phase["accuracy"] for phase in summary["phases"]}
    starts = lines_of(workdir / STARTS)
    return {"accuracy": summary["accuracy"], "by_phase": phases, "starts": starts}


def compare(one: Path, other: Path) -> tuple[bool, dict[str, str]]:
    """If the best weights of two runs are the same to the bit; versions. Reads on the CPU."""
    from jaxft.runtime import digests

    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jaxlib

    from jaxft.workdir import checkpoint

    digests = [digests.digest(checkpoint.read_newest(workdir).best) for workdir in (one, other)]
    return digests[0] == digests[1], {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
