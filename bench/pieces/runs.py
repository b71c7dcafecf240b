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
    """A run as a user has it."""
    with report.guard("train"):
        timed(setting, report, new_folder(setting) / "whole", deterministic=False)


def resumed(setting: Setting, report: Report) -> None:
    """A run with `deterministic`, and another that is stopped, resumed, killed, resumed."""
    folder = new_folder(setting)
    whole, stopped = folder / "whole", folder / "stopped"
    with report.guard("train"):
        timed(setting, report, whole, deterministic=True)
        epochs = lines_of(whole / EPOCHS)
        stops = STOPS[:1] if setting.tiny else STOPS
        codes = [run(setting, stopped, True, stop, epochs) for stop in stops]
        run(setting, stopped, True)
        report.line("train", lowering="stopped", **about(stopped), codes=codes)
        same, versions = compare(whole, stopped)
        report.about(versions=versions)
        report.line("resume", same_best_weights=same)


def new_folder(setting: Setting) -> Path:
    """A new place for a part's runs."""
    return Path(setting.folder, "runs", str(time.time_ns()))


def timed(setting: Setting, report: Report, workdir: Path, deterministic: bool) -> None:
    """The line of a whole run."""
    report.about(device=gauge.tell("name") or "cpu")
    before = time.monotonic()
    run(setting, workdir, deterministic)
    seconds = time.monotonic() - before
    report.line("train", lowering="whole", **about(workdir), seconds=seconds)


def run(
    setting: Setting,
    workdir: Path,
    deterministic: bool,
    stop: tuple[int, float] | None = None,
    epochs: int = 0,
) -> int:
    """Runs the recipe, or goes on with it.

    Args:
      deterministic: `config.deterministic`.
      stop: a signal, and the share of so many epochs after which it is sent.

    Returns:
      The exit code.

    Raises:
      RuntimeError: it failed though no signal was to be sent, or ended before one was.
    """
    card = str(Path(__file__).with_name("tiny_card.py")) if setting.tiny else "quickstart"
    command = [sys.executable, "-m", "jaxft", "train", f"--config={card}", "--distributed=off"]
    command += [f"--workdir={workdir}", f"--config.deterministic={deterministic}"]
    process = subprocess.Popen(command, stdout=sys.stderr)
    if stop is not None:
        number, share = stop
        while process.poll() is None and lines_of(workdir / EPOCHS) < share * epochs:
            time.sleep(0.005)
        process.send_signal(number)
    code = process.wait()
    if (code == 0) != (stop is None):
        raise RuntimeError(f"jaxft train ended with {code}")
    return code


def lines_of(file: Path) -> int:
    """The number of lines of a file; 0 where there is none."""
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def about(workdir: Path) -> dict[str, Any]:
    """Outcome of a run, as it tells: accuracy, and how each phase went."""
    summary = json.loads((workdir / "summary.json").read_text())
    phases = {phase["name"]: phase["accuracy"] for phase in summary["phases"]}
    compiling = sum(phase["seconds"]["compile"] for phase in summary["phases"])
    starts = lines_of(workdir / STARTS)
    told = {"accuracy": summary["accuracy"], "by_phase": phases, "starts": starts}
    return {**told, "compile_seconds": compiling}


def compare(one: Path, other: Path) -> tuple[bool, dict[str, str]]:
    """If the best weights of two runs are the same to the bit; versions. Reads on the CPU."""
    from jaxft.runtime import digests

    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jaxlib

    from jaxft.workdir import checkpoint

    digests = [digests.digest(checkpoint.read_newest(workdir).best) for workdir in (one, other)]
    return digests[0] == digests[1], {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
