"""A tracker: a client that records a run elsewhere, beside `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from PIL.Image import Image

from jaxft.runtime.paths import AnyPath

PROJECT = "jaxft"  # of W&B and trackio; MLflow's experiment


class Start(NamedTuple):
    """A start of a run.

    `config` is that of `config.json`. `run_id` is the tracker's name of the run that goes on, None
    for a new one. `step` counts the steps that precede this start.
    """

    workdir: AnyPath
    config: Mapping[str, Any]
    run_id: str | None
    step: int


class Begun(NamedTuple):
    """A run that a tracker has begun, or goes on with.

    `run_id` names it next time. `logged` is the last step of each number that it holds, as far as
    the client tells; it is not logged again up to there.
    """

    run_id: str
    logged: Mapping[str, int]


class Scalars(NamedTuple):
    """Numbers by name, after a step of the run."""

    step: int
    values: Mapping[str, float]


@runtime_checkable
class Tracker(Protocol):
    """A client of one service or file format; it may raise anything, and take its time.

    It is made in the main thread, where it imports its package; all calls come from one other.
    """

    def begin(self, start: Start) -> Begun:
        """Begin a run, or go on with one."""

    def log(self, rows: Sequence[Scalars]) -> None:
        """Record numbers, in the order of their steps."""

    def show(self, step: int, name: str, image: Image) -> None:
        """Record a picture."""

    def end(self, ended_by: str) -> None:
        """End the run, once all is stored; `ended_by` is finished, interrupted or failed."""
