"""The train step under XLA's flags, each in a process of its own, in turn with one without."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import side_by_side
from pieces import gauge
from pieces import setting as settings
from pieces.clock import Timing
from pieces.report import Report
from pieces.setting import Setting
from side_by_side import Side

FLAGS = (
    "--xla_allow_excess_precision=false",
    "--xla_gpu_experimental_enable_conv_fusion=true",
    "--xla_gpu_enable_command_buffer=",
    "--xla_gpu_enable_latency_hiding_scheduler=true",
    "--xla_gpu_experimental_enable_fusion_autotuner=false",  # compiles each fusion once
)
SERVER = "serve"  # this file's worker, for `--worker`
MEMORY = "0.45"  # of the device, for each of the two
PASS, ROUNDS, REPEATS = "train", 4, 5


def flags(setting: Setting, report: Report) -> None:
    """A line for each flag: the step's time, and how many times as fast as without it."""
    report.about(device=gauge.tell("name") or "cpu")
    tried = FLAGS[:1] if setting.tiny else FLAGS
    rounds, repeats = (2, 1) if setting.tiny else (ROUNDS, REPEATS)
    with opened(setting, "") as base:
        for flag in tried:
            before = time.monotonic()
            with report.guard(PASS, xla_flags=flag), opened(setting, flag) as other:
                seconds = round(time.monotonic() - before, 1)
                report.about(versions=base.about)
                base.seconds[PASS].clear()
                for _ in range(rounds):
                    base.time(PASS, repeats)
                    other.time(PASS, repeats)
                tell(setting, report, base, "")
                gains = base.median(PASS) / other.median(PASS)
                facts = {"gains": [round(gains, 4)], "seconds_until_ready": seconds}
                tell(setting, report, other, flag, **facts)


def tell(setting: Setting, report: Report, side: Side, flag: str, **facts: object) -> None:
    """A line of one side."""
    timing = Timing(tuple(1e3 * seconds for seconds in side.seconds[PASS]), 1)
    shape = f"{setting.image_size} px, {setting.batch} images"
    facts = {"xla_flags": words(flag), "shape": shape, "lowering": flag or "base", **facts}
    report.figure(PASS, timing, images=setting.batch, **facts)


def words(flag: str) -> str:
    """XLA_FLAGS of a side."""
    return " ".join(filter(None, [os.environ.get("XLA_FLAGS", ""), flag]))


@contextmanager
def opened(setting: Setting, flag: str) -> Iterator[Side]:
    """A side's process, ready to be timed.

    Raises:
      RuntimeError: it died, as for a flag that this XLA does not know.
    """
    door = str(Path(__file__).parents[1] / "accelerator.py")
    env = {"XLA_FLAGS": words(flag), "XLA_PYTHON_CLIENT_MEM_FRACTION": MEMORY}
    try:
        side = Side(sys.executable, door, SERVER, {"setting": settings.dump(setting)}, env)
    except SystemExit as error:
        raise RuntimeError(f"{flag}: {error}") from None
    try:
        yield side
    except SystemExit as error:
        raise RuntimeError(f"{flag}: {error}") from None
    finally:
        side.close()


def serve(setting: Setting) -> None:
    """The worker: a full train step, compiled and warmed up."""
    import jax

    from pieces import ideas, network

    network.register()
    step = ideas.train_step(setting)

    def train() -> None:
        jax.block_until_ready(step())

    for _ in range(setting.warm_up):
        train()
    side_by_side.serve({"jax": jax.__version__}, {PASS: train})
