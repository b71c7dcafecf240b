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

# Signals, and when they are sent: after this share of the training that the whole run took.
STOPS = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 0.2))
STARTS = "starts.jsonl"  # in a workdir, a line for every start, as soon as training begins


def quickstart(setting: Setting, report: Report) -> None:
    """A run, and another that is told to stop, resumed, killed, resumed; then both compared."""
    report.about(device=gauge.tell("name") or "cpu")
    folder = Path(setting.folder, "runs", str(time.time_ns()))
    whole, stopped = folder / "whole", folder / "stopped"
    with report.guard("train"):
        before = time.monotonic()
        training = run(setting, whole)
        report.line("train", lowering="whole", **about(whole), seconds=time.monotonic() - before)
        codes = [
            run(setting, stopped, number, starts, share * training)
            for starts, (number, share) in enumerate(STOPS[: 1 if setting.tiny else None], 1)
        ]
        run(setting, stopped)
        report.line("train", lowering="stopped", **about(stopped), codes=codes)
        same, versions = compare(whole, stopped)
        report.about(versions=versions)
        report.line("resume", same_best_weights=same)


def run(
    setting: Setting,
    workdir: Path,
    number: int | None = None,
    starts: int = 1,
    after: float = 0.0,
) -> float:
    """Runs the recipe, or goes on with it.

    Args:
      number: a signal to send, so many seconds after training began.
      starts: how often training has begun by then.

    Returns:
      Seconds of training where no signal is sent; else how the process ended.
    """
    card = str(Path(__file__).with_name("tiny_card.py")) if setting.tiny else "quickstart"
    command = [sys.executable, "-m", "jaxft", "train", f"--config={card}", "--distributed=off"]
    process = subprocess.Popen([*command, f"--workdir={workdir}"], stdout=sys.stderr)
    begun = wait_for_start(process, workdir / STARTS, starts)
    if number is None:
        code = process.wait()
        if code:
            raise RuntimeError(f"jaxft train ended with {code}")
        return time.monotonic() - begun
    try:
        return process.wait(after)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, number)
        return process.wait()


def wait_for_start(process: "subprocess.Popen[Any]", file: Path, starts: int) -> float:
    """Waits until training has begun so often, or the process has ended; the clock then."""
    while process.poll() is None:
        if file.is_file() and len(file.read_text().splitlines()) >= starts:
            break
        time.sleep(0.05)
    return time.monotonic()


def about(workdir: Path) -> dict[str, Any]:
    """Outcome of a run, as it tells: accuracy, and how each phase went."""
    summary = json.loads((workdir / "summary.json").read_text())
    phases = {phase["name"]: phase["accuracy"] for phase in summary["phases"]}
    starts = len((workdir / STARTS).read_text().splitlines())
    return {"accuracy": summary["accuracy"], "by_phase": phases, "starts": starts}


def compare(one: Path, other: Path) -> tuple[bool, dict[str, str]]:
    """If the best weights of two runs are the same to the bit; versions. Reads on the CPU."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jaxlib

    from jaxft import checkpoint

    digests = [checkpoint.digest(checkpoint.read_newest(workdir).best) for workdir in (one, other)]
    return digests[0] == digests[1], {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
