"""A run from start to summary: data, model, then each phase in turn, all resumable."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from jaxft.augment import augmentation
from jaxft.errors import NonFiniteError
from jaxft.materials import reading, seed, shortage
from jaxft.materials.identity import describe
from jaxft.materials.materials import Materials
from jaxft.materials.opening import prepare
from jaxft.materials.start_up import start_up
from jaxft.models.variables import Weights
from jaxft.report import pictures, tables
from jaxft.report.page import page
from jaxft.report.trackers.tracking import Tracking, tracked
from jaxft.runtime import hosts, lost_host, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.runtime.signals import told_to_stop
from jaxft.runtime.timer import Timer, timing
from jaxft.training import averaging, ending, fit, resume, sick, starts
from jaxft.training.summary import finished_summary, summarise
from jaxft.workdir import checkpoint, going_on, retention, room, same_config
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Snapshot


def train(config: Any, workdir: str | AnyPath, console: Console | None = None) -> dict[str, Any]:
    """Run a config's recipe in a workdir, or resume it; return the summary.

    Args:
      config: a ConfigDict with the keys of configs/base.py.
      workdir: created if missing; an unfinished run of the same config is resumed, and one with a
        longer last phase or a lower rate goes on (docs/going_on.md).
      console: gets the progress; None is silent.

    Raises:
      UserError: bad config, data, weights or workdir; nothing has been written.
      NonFiniteError: training diverged; checkpoints up to the previous epoch are intact.
      Interrupted: SIGINT or SIGTERM arrived; a checkpoint has been written.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    settings, config = start_up(config, workdir, trains=True)
    workdir = paths.of(workdir)
    checkpoint.demand_place(workdir)
    changes = hosts.together(lambda: going_on.check(workdir, config))
    finished: dict[str, Any] | None = hosts.gather(finished_summary(workdir))[0]
    if finished is not None and not changes:
        console.say(going_on.finished_in_words(workdir, settings))
        console.tell(tables.summary_text(finished, workdir))
        return finished
    started = time.perf_counter()
    with ExitStack() as held:
        timer = held.enter_context(timing(console))
        stop = held.enter_context(told_to_stop())
        lock = checkpoint.lock(workdir, console.say)
        was_there = workdir.exists()  # else nothing is created before all has been checked
        if was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
        reached = hosts.gather(resume.phase_reached(workdir, settings))[0]
        with shortage.told(settings, "before the first step"):
            materials, initial = prepare(settings, console, stop, reached)
            materials = seed.mixed(materials, workdir)
        hosts.together(lambda: room.demand(workdir, initial))
        paths.make_folder(workdir)
        if not was_there:
            still_held = hosts.together(lambda: held.enter_context(lock))
            same_config.check(workdir, config)
        going_on.note(workdir, changes, console)
        sealed = describe(workdir, config, materials)
        room.clear(workdir, materials.cache_dir)
        kept = retention.of(settings)
        checkpoints = Checkpoints(workdir, still_held, sealed, kept, console.say)
        console.tell(tables.phases_table(settings, materials.steps_per_epoch))
        console.tell(augmentation.in_words(settings.augment))
        setup_seconds = time.perf_counter() - started
        return run_phases(materials, initial, checkpoints, workdir, timer, setup_seconds, changes)


def run_phases(
    materials: Materials,
    initial: Weights,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
    setup_seconds: float,
    changes: Sequence[str],
) -> dict[str, Any]:
    """Run the remaining phases from the newest intact checkpoint on; return the summary."""
    console, phases = materials.console, materials.settings.phases
    with shortage.told(materials.settings, "before the first step"):
        cursor, progress = resume.begin(materials, initial, checkpoints, workdir)
    cursor.setup_seconds += setup_seconds
    checkpoints.remove_after(cursor.saves)
    resume.rewind(workdir, cursor, console)
    if cursor.saves:
        console.say(f"resuming at step {cursor.global_step:,}")
    done = cursor.global_step if cursor.saves else None
    with tracked(materials.settings.track, workdir, done, console.say) as tracking:
        try:
            with starts.noted(workdir, cursor, changes), lost_host.noticed():
                materials, progress = _train(
                    materials, cursor, progress, checkpoints, workdir, timer, tracking, initial
                )
                with shortage.told(materials.settings, "after the last phase"):
                    best = averaging.settle(materials, cursor, progress, checkpoints, workdir)
                    told = ending.answer(materials, best, workdir)
        except tuple(starts.ENDS) as error:
            summarise(workdir, cursor, starts.ENDS[type(error)], materials)
            if isinstance(error, NonFiniteError):
                raise going_on.with_advice(error, workdir, materials.settings, cursor) from None
            raise
        finally:
            with cursor.saving():
                checkpoints.close()
        summary = summarise(workdir, cursor, cursor.phases[-1]["ended_by"], materials)
        pictures.draw(workdir, summary, phases, materials.steps_per_epoch)
        page.write(workdir)
        tracking.finish(cursor.global_step, summary, workdir)
        console.tell(tables.summary_text(summary, workdir))
        console.tell(told)
    return summary


def _train(
    materials: Materials,
    cursor: Cursor,
    progress: Snapshot,
    checkpoints: Checkpoints,
    workdir: AnyPath,
    timer: Timer,
    tracking: Tracking,
    initial: Weights,
) -> tuple[Materials, Snapshot]:
    """Run the phases from a cursor on; return the last one's materials, and its end."""
    while (index := cursor.phase_index) < len(materials.settings.phases):
        materials.demand_going_on()  # the phase before has been saved
        started = time.perf_counter()
        materials = reading.at_size(materials, materials.settings.phases[index].image_size)
        cursor.setup_seconds += time.perf_counter() - started
        along = (materials, cursor, progress, checkpoints, workdir, timer, tracking)
        try:
            progress = fit.run_phase(*along)
        except NonFiniteError as error:
            progress = sick.after(error, materials, cursor, initial, checkpoints, workdir)
    return materials, progress
