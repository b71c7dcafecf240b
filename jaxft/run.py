"""The story of a run: data, model, then phase by phase, each resumable, to a summary."""

import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from jaxft.augment import augmentation
from jaxft.config.settings import Settings
from jaxft.devices import sharding
from jaxft.errors import Interrupted, NonFiniteError, UserError
from jaxft.materials import reading, shortage
from jaxft.materials.identity import describe
from jaxft.materials.materials import Materials
from jaxft.materials.opening import prepare
from jaxft.materials.start_up import start_up
from jaxft.models.variables import Weights
from jaxft.report import tables
from jaxft.report.curve import curve_json
from jaxft.report.losses import plot_losses
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.signals import told_to_stop
from jaxft.runtime.timer import Timer
from jaxft.training import fit, range_test, rebase, runners
from jaxft.training.cursor import Best, Cursor, Progress
from jaxft.training.spec import make_spec
from jaxft.training.summary import finished_summary, summarise
from jaxft.workdir import checkpoint, same_config
from jaxft.workdir.checkpoint import Checkpoint, Checkpoints
from jaxft.workdir.rows import read_rows, rewind_rows, write_rows
from jaxft.workdir.snapshot import weights_of


def train(config: Any, workdir: str | AnyPath, console: Console | None = None) -> dict[str, Any]:
    """Run a config's recipe in a workdir, or go on with it; returns the summary.

    Args:
      config: a ConfigDict as configs/base.py makes it.
      workdir: made if need be; a run of the same config in it is gone on with.
      console: where to tell what happens; None says nothing.

    Raises:
      UserError: bad config, data, weights or workdir; nothing has been written then.
      NonFiniteError: training diverged; checkpoints up to the epoch before are whole.
      Interrupted: told to stop by SIGINT or SIGTERM; a checkpoint has been written.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir)
    workdir = paths.of(workdir)
    hosts.together(lambda: same_config.check(workdir, config))
    finished = hosts.gather(finished_summary(workdir))[0]
    if finished is not None:
        console.say(f"{workdir} holds this run already, finished")
        console.say(tables.summary_text(finished, workdir))
        return finished
    timer, started = Timer(), time.perf_counter()
    with ExitStack() as held:
        stop = held.enter_context(told_to_stop())
        lock = checkpoint.lock(workdir, console.say)
        was_there = workdir.exists()  # else nothing is made before all has been checked
        if was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
        reached = hosts.gather(_phase_reached(workdir, settings))[0]
        with shortage.told(settings, "before the first step"):
            materials, initial = prepare(settings, console, stop, reached)
        paths.make_folder(workdir)
        if not was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
            same_config.check(workdir, config)
        describe(workdir, config, materials)
        checkpoints = Checkpoints(workdir, still_held)
        console.say(tables.phases_table(settings, materials.steps_per_epoch))
        console.say(augmentation.in_words(settings.augment))
        setup_seconds = time.perf_counter() - started
        return run_phases(materials, initial, checkpoints, workdir, timer, setup_seconds)


def run_phases(
    materials: Materials,
    initial: Weights,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
    setup_seconds: float,
) -> dict[str, Any]:
    """All phases that are left, from the newest whole checkpoint on; ends with the summary."""
    console, phases = materials.console, materials.settings.phases
    restored, problems = checkpoints.newest()
    if problems and restored is None:
        raise UserError(
            f"No checkpoint in {workdir} can be read:",
            problems,
            "Nothing was changed; choose another --workdir to begin anew.",
        )
    for problem in problems:
        console.say(f"warning: {problem}; going on from the one before")
    cursor, progress = _begin(materials, initial, restored)
    cursor.setup_seconds += setup_seconds
    checkpoints.remove_after(cursor.saves)
    rewind_rows(workdir / "metrics.jsonl", cursor.rows)
    if restored is not None:
        console.say(f"going on after {cursor.global_step} steps")
    starts = _starts_before(workdir, cursor.global_step)
    start = {"time": time.time(), "from_step": cursor.global_step, "to_step": None}
    write_rows(workdir / "starts.jsonl", [*starts, {**start, "ended_by": "interrupted"}])
    ended_by = "failed"
    try:
        while cursor.phase < len(phases):
            started = time.perf_counter()
            materials = reading.at_size(materials, phases[cursor.phase].image_size)
            cursor.setup_seconds += time.perf_counter() - started
            middle = restored if cursor.lr is not None else None
            phase = phases[cursor.phase]
            goes_on = _after_shortage(cursor, workdir)
            with shortage.told(materials.settings, f"in phase {phase.name}", phase, hint=goes_on):
                progress = fit.run_phase(
                    materials, cursor, progress, middle, checkpoints, workdir, timer
                )
            restored = None
        ended_by = cursor.phases[-1]["ended_by"]
    except Interrupted:
        ended_by = "interrupted"
        raise
    except NonFiniteError:
        ended_by = "nonfinite"
        raise
    finally:
        row = {**start, "to_step": cursor.global_step, "ended_by": ended_by}
        write_rows(workdir / "starts.jsonl", [*starts, row])
        if ended_by in ("interrupted", "nonfinite"):
            summarise(workdir, cursor, ended_by, materials)
        checkpoints.close()
    summary = summarise(workdir, cursor, ended_by, materials)
    rows = read_rows(workdir / "metrics.jsonl")
    plot_losses(rows, summary["best"], workdir / "losses.png")
    console.say(tables.summary_text(summary, workdir))
    return summary


def _after_shortage(cursor: Cursor, workdir: AnyPath) -> str:
    """Tell how a run goes on that ran out of memory in a phase."""
    if cursor.saves == 0:
        return f"{shortage.WHICH_FITS} Nothing is lost: the run had no checkpoint yet."
    begun = cursor.lr is not None
    return (
        f"{shortage.WHICH_FITS} The checkpoints in {workdir} are whole. "
        + ("" if begun else "With more microbatches in this phase the same command goes on there. ")
        + "Any other batches make other numbers, and so another run: another --workdir, and "
        f"--config.init_from={workdir} to begin with these weights."
    )


def _phase_reached(workdir: AnyPath, settings: Settings) -> int:
    """The phase that a run in a workdir seems to go on with: what it finds there tells for sure."""
    cursor = checkpoint.newest_cursor(workdir) or {}
    return min(cursor.get("phase", 0), len(settings.phases) - 1)


def _starts_before(workdir: AnyPath, reached: int) -> list[dict[str, Any]]:
    """The rows of earlier starts; one that was killed got as far as its last checkpoint."""
    rows = read_rows(workdir / "starts.jsonl")
    return [{**row, "to_step": reached} if row["to_step"] is None else row for row in rows]


def _begin(
    materials: Materials, initial: Weights, restored: Checkpoint | None
) -> tuple[Cursor, Progress]:
    """Find where to begin: at the first step, or where a checkpoint stands."""
    if restored is None:
        start = sharding.replicate(initial, materials.mesh)
        return Cursor(), Progress(start, Best(sharding.fetch(initial), np.zeros(0)))
    kept = Best(weights_of(restored.best), restored.best.get("losses", np.zeros(0)))
    current = sharding.replicate(weights_of(restored.state), materials.mesh)
    return Cursor(**restored.cursor), Progress(current, kept)


def find_rate(
    config: Any, workdir: str | AnyPath, phase: str, console: Console | None = None
) -> dict[str, Any]:
    """The range test for one phase of a config, from a run's newest weights or the initial ones.

    Args:
      config: as for `train`.
      workdir: gets `lr_find/PHASE.json` and `.png`; a run of the same config in it gives the
        weights.
      phase: name of the phase, "" = the first with lr="find".

    Raises:
      UserError: no such phase, and what `train` raises.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir)
    workdir = paths.of(workdir)
    index = _phase_index(settings, phase)
    hosts.together(lambda: same_config.check(workdir, config))
    with shortage.told(settings, "before the first step"):
        materials, current = prepare(settings, console, phase=index)
    begun = False
    if checkpoint.steps(workdir):
        newest = checkpoint.read_newest(workdir)
        current = weights_of(newest.state)
        begun = newest.cursor["phase"] == index and newest.cursor["lr"] is not None
    paths.make_folder(workdir)
    with ExitStack() as held:
        lock = checkpoint.lock(workdir, console.say)
        hosts.together(lambda: held.enter_context(lock))
        describe(workdir, config, materials)
        current = sharding.replicate(current, materials.mesh)
        spec = make_spec(materials, index)
        with shortage.told(materials.settings, f"in phase {spec.phase.name}", spec.phase):
            if not begun:
                current = rebase.rebase(spec, materials, current)
            runner = fit.make_runner(spec, materials, current)
            with runners.closing(runner):
                curve = range_test.find_rate(spec, materials, runner, current, workdir)
    console.say(f"{settings.phases[index].name}: learning rate {curve.lr:.2e} ({curve.rule})")
    return curve_json(curve)


def _phase_index(settings: Settings, name: str) -> int:
    names = [phase.name for phase in settings.phases]
    if name in names:
        return names.index(name)
    finding = [index for index, phase in enumerate(settings.phases) if phase.lr == "find"]
    if not name:
        return finding[0] if finding else 0
    raise UserError(f"No phase is named {name!r}", hint=f"The phases are: {', '.join(names)}")
