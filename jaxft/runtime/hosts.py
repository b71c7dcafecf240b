"""The processes of a run: how they join, who speaks for them, and how they agree.

One process drives all devices of its host, and every one runs the same program. With a single
process all of this costs nothing and changes nothing.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Shaped

from jaxft.errors import Interrupted, UserError

T = TypeVar("T")
P = ParamSpec("P")

MODES = ("auto", "on", "off")
# JAX reads the first of these by itself, and the others from its cluster environments only.
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PIECE_BYTES = 2**28  # sent at once, so that features of a large data set need no room of their size
# What JAX says where it detects none, and to one that computes already, as in a notebook.
ALONE = ("coordinator_address should be defined", "must be called before")


def join(mode: str) -> None:
    """Become one process of several, where there are several; before any other JAX call.

    Args:
      mode: `auto` joins where JAX detects a cluster (Cloud TPU, SLURM, Kubernetes, Open MPI) or
        JAX_COORDINATOR_ADDRESS is set; `on` demands that; `off` runs alone.

    Raises:
      UserError: there is no cluster and `on` was asked for, or it cannot be joined.
    """
    if mode == "off":
        return
    try:
        jax.distributed.initialize(os.environ.get(ADDRESS), **_numbers())  # type: ignore[arg-type]
    except (ValueError, RuntimeError, OSError) as error:
        if mode == "auto" and any(words in str(error) for words in ALONE):
            return
        raise UserError(
            f"This process cannot join the others: {error}",
            hint=f"Set {ADDRESS}=HOST:PORT, {COUNT} and {INDEX} in every process, or run alone "
            "with --distributed=off.",
        ) from None


def _numbers() -> dict[str, int]:
    """JAX's arguments that the environment gives.

    Raises:
      UserError: lists those that are no numbers.
    """
    texts = {
        argument: (name, os.environ[name])
        for argument, name in (("num_processes", COUNT), ("process_id", INDEX))
        if name in os.environ
    }
    wrong = [f"{name}={text}" for name, text in texts.values() if not text.isdecimal()]
    if wrong:
        raise UserError("These should be numbers:", wrong)
    return {argument: int(text) for argument, (_, text) in texts.items()}


def alone() -> bool:
    """Whether this process never joined others; asking does not start JAX's backends."""
    return not jax.distributed.is_initialized()


def count() -> int:
    """How many processes run this program together."""
    return 1 if alone() else jax.process_count()


def index() -> int:
    """Which of them this one is, from 0."""
    return 0 if alone() else jax.process_index()


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return index() == 0


def first_only(function: Callable[P, None]) -> Callable[P, None]:
    """Do it in the first process only."""

    @wraps(function)
    def maybe(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            function(*args, **kwargs)

    return maybe


def gather(data: Any) -> list[Any]:
    """JSON data of every process, by its index; a call that all of them make."""
    if count() == 1:
        return [data]
    text = np.frombuffer(json.dumps(data).encode(), np.uint8)
    sizes = _gather_array(np.asarray([len(text)], np.int32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = text
    rows = _gather_array(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def gather_batches(
    parts: list[Shaped[np.ndarray, "share ..."]],
) -> Shaped[np.ndarray, "rows ..."]:
    """All rows of all batches, in their global order, from the share that each process has.

    Args:
      parts: one for each batch, process h holding its h-th part; of one shape in all processes.
    """
    mine = np.stack(parts)
    if count() == 1:
        return mine.reshape(-1, *mine.shape[2:])
    rows = np.moveaxis(_gather_array(mine), 0, 1)  # [batches, processes, share, ...]
    return np.ascontiguousarray(rows).reshape(-1, *mine.shape[2:])


def from_first(array: np.ndarray | None) -> np.ndarray | None:
    """The first process's array, or None where it has none."""
    if count() == 1:
        return array
    told = None if array is None else [array.shape, array.dtype.str]
    told = gather(told)[0]
    if told is None:
        return None
    shape, dtype = tuple(told[0]), np.dtype(told[1])
    size = int(np.prod(shape)) * dtype.itemsize
    # As bytes, so that no bit changes and JAX need not know the dtype.
    content = np.zeros(size, np.uint8)
    if is_first() and array is not None:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    with jax.transfer_guard("allow"):
        received = [multihost_utils.broadcast_one_to_all(piece) for piece in _pieces(content)]
    return np.concatenate(received).astype(np.uint8).view(dtype).reshape(shape)


def _gather_array(array: np.ndarray) -> np.ndarray:
    """[processes, ...], of arrays that have one shape in all of them; bits stay as they are."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    with jax.transfer_guard("allow"):
        rows = [multihost_utils.process_allgather(piece) for piece in _pieces(content)]
    whole = np.ascontiguousarray(np.concatenate(rows, 1))
    return whole.view(array.dtype).reshape(-1, *array.shape)


def _pieces(content: np.ndarray) -> list[np.ndarray]:
    """Bytes in portions that fit into any device's memory beside what is there."""
    return [content[i : i + PIECE_BYTES] for i in range(0, max(len(content), 1), PIECE_BYTES)]


def together(function: Callable[[], T]) -> T:
    """Do the same in every process; what one of them cannot do fails in all, with its message.

    Raises:
      UserError, Interrupted: as `function` raised in this process or another.
    """
    if count() == 1:
        return function()
    result: Any = None
    problem: Any = None
    try:
        result = function()
    except UserError as error:
        problem = [error.title, error.offenders, error.hint]
    except Interrupted:
        problem = []
    problems = [found for found in gather(problem) if found is not None]
    if not problems:
        return result
    if [] in problems:
        raise Interrupted
    raise agreed(UserError(*problems[0]))


def demand_same(data: dict[str, Any], title: str) -> None:
    """Raises UserError in all processes where they differ in any of these JSON data."""
    everyone = gather(data)
    offenders = [
        f"{key}: {row[key]} in process {number}, {everyone[0][key]} in process 0"
        for number, row in enumerate(everyone)
        for key in data
        if row[key] != everyone[0][key]
    ]
    if offenders:
        raise agreed(UserError(title, offenders))


def agreed(error: UserError) -> UserError:
    """Mark an error that every process raises, so that the first one alone tells it."""
    error.everywhere = True
    return error


class Stop(threading.Event):
    """Whether the run was told to stop, and every process of it knows.

    `ask` may be called at any time, in any process (a signal's handler does); with several
    processes the event is set at the next `Ballot` in all of them at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def ask(self) -> None:
        """Wish that the run stop."""
        self.asked = True
        if count() == 1:
            self.set()


class Ballot:
    """For a loop that all processes run in step: whether to leave it, the same answer in all.

    They vote about once a second, at a call whose number the first process has settled before:
    a vote costs a small collective.

    Args:
      stop: left too where any process was asked to stop; is set then.
    """

    SECONDS = 1.0
    MOST_CALLS = 1000

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._calls_left, self._calls, self._since = 0, 0, time.perf_counter()

    def __call__(self, wish: bool = False) -> bool:
        """Whether any process wishes to leave the loop, or was asked to stop.

        Between two votes the answer is no.
        """
        if count() == 1:
            return wish or self._stop.is_set()
        self._calls += 1
        if self._calls_left > 0:
            self._calls_left -= 1
            return False
        seconds = max(time.perf_counter() - self._since, 1e-6)
        pause = int(np.clip(self._calls * self.SECONDS / seconds, 1, self.MOST_CALLS)) - 1
        votes = _gather_array(np.asarray([self._stop.asked, wish, pause], np.int32))
        self._calls_left, self._calls, self._since = int(votes[0, 2]), 0, time.perf_counter()
        if votes[:, 0].any():
            self._stop.set()
        return bool(votes[:, :2].any())
