"""Feeds: items made ahead of time, by threads or by processes.

An item is made from its number alone, and items come out in the order of their numbers. The number
of threads or processes and the first number change nothing about them.
"""

import re
import signal
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import grain
import jax
from absl import flags

from jaxft.errors import UserError
from jaxft.runtime import worker_process

T = TypeVar("T")
# Placed on the devices before they are asked for, so that no step waits for a transfer.
AHEAD = 2
# How Grain says that a process of its own is gone.
KILLED = re.compile(r"terminated unexpectedly with exit code (-?\d+)")


class Feed(Generic[T]):
    """An iterator over items that are made ahead of time; a context manager.

    Errors of the makers come out of `next`, and end it. Closing (or leaving the `with`) stops
    threads and processes.

    Attributes:
      waited_seconds: time that callers have waited in `next`, in all.
    """

    def __init__(self, source: Any) -> None:
        self.waited_seconds = 0.0
        self._source = source
        self._finished = False

    def __iter__(self) -> "Feed[T]":
        return self

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        start = time.perf_counter()
        try:
            item: T = next(self._source)
            return item
        except BaseException as error:
            self.close()
            if found := KILLED.search(str(error)):
                raise _lost(int(found[1])) from None
            raise
        finally:
            self.waited_seconds += time.perf_counter() - start

    def close(self) -> None:
        """Stop the makers, and wait for the processes among them to end."""
        self._finished = True
        self._source.close()

    def __enter__(self) -> "Feed[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_ahead(
    make: Callable[[int], Any],
    numbers: range,
    *,
    parts: int = 1,
    join: Callable[[Sequence[Any]], Any] = lambda made: made[0],
    finish: Callable[[Any], T] = lambda whole: whole,
    threads: int = 0,
    workers: int = 0,
) -> Feed[T]:
    """Yield finish(join([make(parts * n), ..., make(parts * n + parts - 1)])) for each n.

    Args:
      make: makes a part from its number, never None; can be pickled, if there are workers.
      numbers: the values of n, in this order.
      parts: number of parts of an item; threads share the work on one item.
      join: makes an item of its parts.
      finish: called in a thread of this process, AHEAD items before they are asked for.
      threads: that make parts; 0: the thread that also finishes them.
      workers: processes that make whole items, instead of the threads.

    Raises:
      UserError: (of `next`) a worker was killed.
    """
    if not flags.FLAGS.is_parsed():  # Grain asks absl, which our command line does without
        flags.FLAGS.mark_as_parsed()
    source = grain.MapDataset.source(range(parts * numbers.start, parts * numbers.stop)).map(make)
    if workers:
        inline = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        several = grain.MultiprocessingOptions(min(workers, max(len(numbers), 1)))
        whole = source.batch(parts, batch_fn=join).to_iter_dataset(inline)
        whole = whole.mp_prefetch(several, worker_init_fn=_begin_worker)
    else:
        ahead = max(threads, AHEAD * parts) if threads else 0
        pool = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        whole = source.to_iter_dataset(pool).batch(parts, batch_fn=join)
    finished = grain.experimental.ThreadPrefetchIterDataset(
        whole.map(finish), prefetch_buffer_size=AHEAD
    )
    return Feed(iter(finished))


def _begin_worker(_: int, __: int) -> None:
    """Begin a worker, which leaves the accelerators and the signals to its parent."""
    jax.config.update("jax_platforms", "cpu")
    worker_process.obey((signal.SIGINT, signal.SIGTERM))


def _lost(code: int) -> UserError:
    """The error for a worker that is gone."""
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    causes = {
        -signal.SIGKILL: "It was killed, perhaps for lack of memory.",
        -signal.SIGBUS: "Shared memory (/dev/shm) may be full.",
    }
    advice = [
        *([causes[code]] if code in causes else []),
        "Set fewer --config.data.workers (0 = threads only).",
        "The same command resumes from the last checkpoint.",
    ]
    return UserError(f"A process that reads images ended: {how}", hint=" ".join(advice))
