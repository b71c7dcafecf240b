"""Ends of cycles whose weights are kept, for the averages that are judged at a run's end."""

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from jaxft.config.settings import Settings
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts
from jaxft.runtime.paths import AnyPath
from jaxft.training.train_state import TrainState
from jaxft.workdir import kept_weights
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.kept_weights import RAW, End, place


class Kept(NamedTuple):
    """Weights of cycle ends on the host, oldest first, and the faults of those that are missing.

    `raw` are the newest end's without their moving average, None if there is none.
    """

    ends: dict[End, Weights]
    raw: Weights | None
    problems: list[str]


def so_far(settings: Settings, cursor: Cursor) -> list[End]:
    """Return all cycle ends up to a cursor, oldest first, of the phases that train the body."""
    counts = [told["cycles"] for told in cursor.phases] + [len(cursor.phase.cycles)]
    return [
        End(phase.name, epochs - 1)
        for phase, count in zip(settings.phases, counts, strict=False)
        if phase.trains_body
        for epochs in list(accumulate(phase.cycle_lengths))[:count]
    ]


def keep(
    materials: Materials,
    cursor: Cursor,
    workdir: AnyPath,
    state: TrainState,
    on_host: Callable[[Weights], Weights],
) -> None:
    """Keep the weights of the cycle end that a cursor has reached, if the config asks for it.

    Of older ends only the config's number stay. A file that cannot be written is told, and left out
    later. A run that goes on from before this end writes the same file again.

    Args:
      materials, cursor, workdir: of the run; the cursor has counted this end.
      state: of the train step.
      on_host: returns the weights of all groups, given the trained ones.
    """
    settings = materials.settings
    trains_body = settings.phases[cursor.phase_index].trains_body
    if not (settings.average_cycles and trains_body and hosts.is_first()):
        return
    *older, end = so_far(settings, cursor)
    try:
        kept_weights.write(place(workdir, end.name), end, on_host(state.weights))
        if state.average is not None:
            raw = Weights(state.params, state.batch_stats)
            kept_weights.write(place(workdir, RAW), end, on_host(raw))
        for old in older[: 1 - settings.average_cycles]:
            kept_weights.remove(place(workdir, old.name))
    except OSError as error:
        materials.console.say(f"warning: this cycle's end cannot be kept: {error}")


def read(materials: Materials, cursor: Cursor, workdir: AnyPath, like: Weights) -> Kept:
    """Read the weights of the last cycle ends before a cursor; all processes call it.

    Files of other ends, such as a later start may have left, are passed over.

    Args:
      materials, cursor, workdir: of the run.
      like: weights of the same network, on the host.
    """
    settings = materials.settings
    wanted = so_far(settings, cursor)[-settings.average_cycles :]
    files = {place(workdir, end.name): end for end in wanted}
    if settings.optimizer.ema_decay and wanted:
        files[place(workdir, RAW)] = wanted[-1]
    found: dict[AnyPath, Weights] = {}
    problems: dict[str, str] = {}
    hosts.gather(None)  # the first process has written the last one by now
    for path, end in files.items():
        try:
            found[path] = kept_weights.read(path, end, like)
        except ValueError as error:
            problems[path.name] = str(error)
    # What one process cannot read, none has.
    faults = {name: told for each in hosts.gather(problems) for name, told in each.items()}
    whole = {path: weights for path, weights in found.items() if path.name not in faults}
    raw = whole.pop(place(workdir, RAW), None)
    return Kept({files[path]: whole[path] for path in whole}, raw, list(faults.values()))
