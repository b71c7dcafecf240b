"""A study from start to result: its arms, run one after another, each resumable."""

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax

from jaxft.config.plain import as_dict
from jaxft.materials.start_up import start_up
from jaxft.report import study as report
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.training.study import arms as all_arms
from jaxft.training.study.arms import Arm
from jaxft.training.study.reading import result_of, row_of
from jaxft.workdir import checkpoint, request
from jaxft.workdir.rows import write_json

RUNS, RESULT, PICTURE = "runs", "study.json", "study.png"
EPOCHS, SEEDS = (0, 1, 2, 5, 15, 45), 3

Train = Callable[..., dict[str, Any]]


class Plan(NamedTuple):
    """The arms of a study, the pilot first, with the config of each as plain data."""

    arms: list[Arm]
    configs: list[dict[str, Any]]
    request: dict[str, Any]


def study(
    config: Any,
    workdir: str | AnyPath,
    train: Train,
    epochs: Sequence[int] = EPOCHS,
    seeds: int = SEEDS,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train the head for so many epochs, unfreeze, compare what the runs come to.

    The first run (the pilot) finds the rates that its config leaves open; the others take them.

    Args:
      config: a ConfigDict with the keys of configs/base.py.
      workdir: created if missing; a study of the same settings in it is gone on with, or told.
      train: `jaxft.run.train`.
      epochs: of the head, before the body is unfrozen.
      seeds: number of seeds of each, from the config's own on.
      console: gets the progress; None is silent.

    Returns:
      What `study.json` holds.

    Raises:
      UserError: bad config, data, weights or workdir; no run has begun.
      NonFiniteError, Interrupted: as `train` raises them; what is done is kept.
    """
    console = console or Console(None)
    paths.demand_workdir(workdir)
    plan = planned(config, epochs, seeds, workdir)
    place = paths.of(workdir)
    hosts.together(lambda: claim(place, plan.request))
    paths.make_folder(place)
    with ExitStack() as held:
        lock = checkpoint.lock(place, console.say)
        hosts.together(lambda: held.enter_context(lock))
        if not (place / RUNS).exists():
            write_json(place / request.REQUEST, plan.request)
        console.say(f"{len(plan.arms)} runs; the first finds the rates of all")
        rows, rates = run_all(plan, place, train, console)
        result = result_of(rows, rates)
        write_json(place / RESULT, result)
        report.plot(result, place / PICTURE)
        console.say(f"\n{report.text(result, place)}")
    return result


def planned(config: Any, epochs: Sequence[int], seeds: int, workdir: str | AnyPath) -> Plan:
    """Read the config, and make that of every arm.

    Raises:
      UserError: mistakes in it; lists all of one kind.
    """
    plain = as_dict(config)
    settings, resolved = start_up(plain, workdir)
    head, body = all_arms.demand_phases(settings)
    numbers = [settings.seed + number for number in range(seeds)]
    found = all_arms.arms(epochs, numbers, settings.phases[head].epochs)
    configs = [all_arms.config_of(arm, plain, head, body) for arm in found]
    all_arms.demand_sense(configs)
    wanted = {"config": resolved, "study": {"epochs": sorted(set(epochs)), "seeds": numbers}}
    return Plan(found, configs, wanted)


def claim(place: AnyPath, wanted: dict[str, Any]) -> None:
    """Raise UserError if the folder is another study's, or anything else's."""
    if place.is_dir():
        names = {path.name for path in place.iterdir()}
        if names <= {request.REQUEST, *request.ALLOWED}:  # no run has begun
            return
    request.check(place, wanted, "study")


def run_all(
    plan: Plan, place: AnyPath, train: Train, console: Console
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Run every arm, or what is left of it; return their figures, and the rates of the phases."""
    rows: list[dict[str, Any]] = []
    rates: dict[str, float] = {}
    for arm, plain in zip(plan.arms, plan.configs, strict=True):
        folder = place / RUNS / arm.name
        said = Console(None) if rates else console
        summary = train(all_arms.with_rates(plain, rates), folder, said)
        if not rates:
            rates = {phase["name"]: phase["lr"] for phase in summary["phases"]}
            console.say()
        rows.append(hosts.gather(row_of(arm, folder) if hosts.is_first() else None)[0])
        console.say(report.line(rows[-1], len(rows), len(plan.arms)))
        jax.clear_caches()  # of programs that no other run can use; they hold memory
        gc.collect()
    return rows, rates
