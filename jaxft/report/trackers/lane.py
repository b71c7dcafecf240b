"""The lane of a tracker: its thread, and what waits for it."""

import io
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from PIL import Image

from jaxft.report.trackers.tracker import Scalars, Start, Tracker
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

PAUSE = 1.0  # seconds in which rows gather: clients are quicker with many at once
MOST_WAITING = 100_000  # rows, of a client that hangs


class Pictures(NamedTuple):
    """A workdir whose pictures are to be shown, and the step."""

    workdir: AnyPath
    step: int


Item: TypeAlias = Scalars | Pictures | None


class Lane:
    """A tracker at work in a thread of its own: the run neither waits for it nor fails with it.

    A tracker that raises, or is too slow, is dropped with a warning.

    Args:
      name: of the tracker.
      tracker: its client.
      start: what it is told at first.
      note: gets the id of the tracker's run.
      say: gets the warning.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        start: Start,
        note: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self._name, self._tracker, self._start = name, tracker, start
        self._note, self._say = note, say
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._dropped = False
        self._ended_by = ""
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Leave something for the tracker; returns at once."""
        if self._dropped:
            return
        if self._items.qsize() >= MOST_WAITING:
            self._drop(f"{MOST_WAITING:,} rows wait for it")
        self._items.put(item)

    def close(self, ended_by: str) -> None:
        """Let the tracker end its run once it has all; returns at once."""
        self._ended_by = ended_by
        self._closing.set()
        self._items.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for the end, or no longer than that."""
        self._thread.join(max(seconds, 0.0))
        if self._thread.is_alive():
            self._drop("it has not ended in time")

    def _work(self) -> None:
        try:
            begun = self._tracker.begin(self._start)
            self._note(self._name, begun.run_id)
            going_on = True
            while going_on and not self._dropped:
                going_on = self._pass_on(begun.logged)
            if not self._dropped:
                self._tracker.end(self._ended_by)
        except Exception as error:  # of any client, with no class in common
            self._drop(" ".join(f"{type(error).__name__}: {error}".split()))

    def _pass_on(self, logged: Mapping[str, int]) -> bool:
        """Hand what waits to the tracker; False if that was the last of it."""
        items = self._take()
        rows = [_without(item, logged) for item in items if isinstance(item, Scalars)]
        if rows := [row for row in rows if row.values]:
            self._tracker.log(rows)
        for item in items:
            if isinstance(item, Pictures):
                for name, image in pictures(item.workdir):
                    self._tracker.show(item.step, name, image)
        return items[-1] is not None

    def _take(self) -> list[Item]:
        """Take all that has come, a while after the first of it."""
        items = [self._items.get()]
        self._closing.wait(PAUSE)
        with suppress(queue.Empty):
            while items[-1] is not None:
                items.append(self._items.get_nowait())
        return items

    def _drop(self, reason: str) -> None:
        if not self._dropped:
            self._dropped = True
            self._say(f"warning: the tracker {self._name} is dropped: {reason}")


def pictures(workdir: AnyPath) -> Iterator[tuple[str, Image.Image]]:
    """Yield the pictures of a finished run, each with a name."""
    course = [workdir / f"{name}.png" for name in ("losses", "rates")]
    found = [file for file in course if file.exists()]
    for file in [*found, *sorted((workdir / "lr_find").glob("*.png"))]:
        name = file.stem if file.parent == workdir else f"{file.parent.name}/{file.stem}"
        yield name, Image.open(io.BytesIO(paths.read(file))).convert("RGB")


def _without(row: Scalars, logged: Mapping[str, int]) -> Scalars:
    """Leave out the numbers that a tracker has already."""
    new = {name: value for name, value in row.values.items() if row.step > logged.get(name, -1)}
    return row._replace(values=new)
