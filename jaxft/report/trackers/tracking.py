"""The trackers of a run: what they are told, and under which names."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxft.config import tracking as asked
from jaxft.errors import Interrupted
from jaxft.report.trackers.lane import Lane, Pictures
from jaxft.report.trackers.registry import TRACKERS
from jaxft.report.trackers.tracker import Scalars, Start
from jaxft.runtime import hosts, paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import write_json

FILE = "trackers.json"  # of a workdir: tracker -> the id of its run
END_SECONDS = 30.0  # that a run's end waits for all trackers
NOT_MEASURED = ("step", "global_step")  # of an epoch's row: they are where it stands


class Tracking:
    """The trackers of a run, none in all processes but the first. Every method returns at once."""

    def __init__(self, lanes: Sequence[Lane] = ()) -> None:
        self._lanes = lanes

    def step(self, step: int, loss: float, rate: float, groups: Mapping[str, float]) -> None:
        """Tell of a step: its loss, and the rate of each group, by its multiplier."""
        if self._lanes:
            rates = {f"steps/lr/{group}": rate * times for group, times in groups.items()}
            self._log(step, {"steps/loss": loss, **rates})

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Tell of an epoch, given its row of metrics.jsonl."""
        told = {key: value for key, value in row.items() if key not in NOT_MEASURED}
        self._log(row["global_step"], numbers(told, row["phase"]))

    def finish(self, step: int, summary: Mapping[str, Any], workdir: AnyPath) -> None:
        """Tell of the end of a run: the figures of summary.json, and the pictures."""
        told = {key: value for key, value in summary.items() if key not in ("best", "bottleneck")}
        self._log(step, numbers(told, "summary"))
        for lane in self._lanes:
            lane.put(Pictures(workdir, step))

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for lane in self._lanes:
            lane.put(Scalars(step, values))


@contextmanager
def tracked(
    track: str, workdir: AnyPath, done: int | None, say: Callable[[str], None]
) -> Iterator[Tracking]:
    """Let trackers record a run for as long as this block lasts.

    Args:
      track: names of the trackers, as `config.track`.
      workdir: of the run, with its config.json; remembers the trackers' own ids of it.
      done: steps of the checkpoint that the run goes on from; None if it begins.
      say: gets a warning where a tracker is dropped.
    """
    lanes = _lanes(track, workdir, done, say) if hosts.is_first() else []
    ended_by, patience = "failed", END_SECONDS
    try:
        yield Tracking(lanes)
        ended_by = "finished"
    except Interrupted:
        ended_by = "interrupted"
        raise
    except KeyboardInterrupt:  # at once
        patience = 0.0
        raise
    finally:
        deadline = time.monotonic() + patience
        for lane in lanes:
            lane.close(ended_by)
        for lane in lanes:
            lane.wait(deadline - time.monotonic())


def _lanes(
    track: str, workdir: AnyPath, done: int | None, say: Callable[[str], None]
) -> list[Lane]:
    """Make a lane for each tracker; one whose package fails to load is left out, with a warning."""
    names = asked.names(track)
    config = _read(workdir / "config.json") if names else {}
    ids = {} if done is None else _read(workdir / FILE)
    lock = threading.Lock()

    def note(name: str, run_id: str) -> None:
        with lock:
            ids[name] = run_id
            write_json(workdir / FILE, ids)

    lanes = []
    for name in names:
        start = Start(workdir, config, ids.get(name), done or 0)
        try:
            lanes.append(Lane(name, TRACKERS[name](), start, note, say))
        except Exception as error:  # a client may raise anything while it is imported
            say(f"warning: the tracker {name} is left out: {type(error).__name__}: {error}")
    return lanes


def _read(path: AnyPath) -> dict[str, Any]:
    """Return what a JSON file holds; {} if it is missing or damaged."""
    try:
        found = json.loads(paths.read(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def numbers(data: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the numbers of nested JSON data by path; true and false are 1 and 0."""
    found: dict[str, float] = {}
    for key, value in data.items():
        path = f"{prefix}/{key}"
        if isinstance(value, Mapping):
            found |= numbers(value, path)
        elif isinstance(value, int | float):
            found[path] = float(value)
    return found
