"""The processes of a run: they join, exchange data, and agree; the first one speaks for all.

One process drives all devices of its host, and every process runs the same program. With a single
process all of this costs nothing and changes nothing.
"""

import json
import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jaxtyping import Shaped

from jaxft.errors import Interrupted, UserError
from jaxft.runtime import lost_host
from jaxft.runtime.exchange import broadcast_bytes, gather_array

T = TypeVar("T")
P = ParamSpec("P")

# JAX itself reads the first of these, and the others only in its cluster environments.
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Words of JAX's where it detects no cluster, and where it computes already, as in a notebook.
ALONE = ("coordinator_address should be defined", "must be called before")


def join(mode: str) -> None:
    """Join the other processes, where there are any; before any other JAX call.

    Args:
      mode: `auto` joins where JAX detects a cluster (Cloud TPU, SLURM, Kubernetes, Open MPI) or
        JAX_COORDINATOR_ADDRESS is set; `on` demands that; `off` runs alone.

    Raises:
      UserError: the cluster cannot be joined, or there is none and `mode` is `on`.
    """
    if mode == "off":
        return
    try:
        # mypy would have each number fit every argument.
        jax.distributed.initialize(
            os.environ.get(ADDRESS),
            heartbeat_timeout_seconds=lost_host.SECONDS,
            **_numbers(),  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError, OSError) as error:
        if mode == "auto" and any(words in str(error) for words in ALONE):
            return
        raise UserError(
            f"This process cannot join the others: {error}",
            hint=f"Set {ADDRESS}=HOST:PORT, {COUNT} and {INDEX} in every process, or run alone "
            "with --distributed=off.",
        ) from None


def _numbers() -> dict[str, int]:
    """Return the arguments of JAX's that the environment gives.

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
    """Tell whether this process never joined others, without starting JAX's backends."""
    return not jax.distributed.is_initialized()


def count() -> int:
    """Return the number of processes that run this program together."""
    return 1 if alone() else jax.process_count()


def index() -> int:
    """Return the number of this process, from 0."""
    return 0 if alone() else jax.process_index()


def is_first() -> bool:
    """Tell whether this is the process that prints and writes."""
    return index() == 0


def first_only(function: Callable[P, object]) -> Callable[P, None]:
    """Make a function do nothing but in the first process."""

    @wraps(function)
    def maybe(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            function(*args, **kwargs)

    return maybe


def gather(data: Any) -> list[Any]:
    """Return the JSON data of every process, in their order; all processes call it."""
    if count() == 1:
        return [data]
    text = np.frombuffer(json.dumps(data).encode(), np.uint8)
    sizes = gather_array(np.asarray([len(text)], np.int32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = text
    rows = gather_array(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def gather_batches(
    parts: list[Shaped[np.ndarray, "share ..."]],
) -> Shaped[np.ndarray, "rows ..."]:
    """Return all rows of all batches in their global order, given the share of each process.

    Args:
      parts: one for each batch, of one shape in all processes; process h holds its h-th part.
    """
    mine = np.stack(parts)
    if count() == 1:
        return mine.reshape(-1, *mine.shape[2:])
    rows = np.moveaxis(gather_array(mine), 0, 1)  # [batches, processes, share, ...]
    return np.ascontiguousarray(rows).reshape(-1, *mine.shape[2:])


def from_first(array: np.ndarray | None) -> np.ndarray | None:
    """Return the first process's array, or None where it has none."""
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
    received: np.ndarray = broadcast_bytes(content).view(dtype).reshape(shape)
    return received


def together(function: Callable[[], T]) -> T:
    """Do the same in every process; where one of them fails, all fail with its message.

    Raises:
      UserError, Interrupted: as `function` raised in this process or another.
    """
    if count() == 1:
        return function()
    results: list[T] = []
    problem: Any = None
    try:
        results.append(function())
    except UserError as error:
        problem = [error.title, error.offenders, error.hint]
    except Interrupted:
        problem = []
    problems = [found for found in gather(problem) if found is not None]
    if not problems:
        return results[0]
    if [] in problems:
        raise Interrupted
    raise agreed(UserError(*problems[0]))


def demand_same(data: dict[str, Any], title: str) -> None:
    """Raise UserError in all processes where they differ in any of these JSON data."""
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
