"""Too little memory: XLA's messages about it on all platforms, as one kind of error."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax

from jaxft.config.phase import Phase, path_of
from jaxft.config.settings import Settings
from jaxft.devices import platform, pool
from jaxft.errors import UserError

GIB = 2**30
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

# XLA's and its libraries' words for a device without memory.
SIGNS = re.compile(
    r"RESOURCE_EXHAUSTED.*(memory|allocat|reserve)|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|"
    r"CU(DNN|BLAS|SOLVER|FFT|SPARSE)_STATUS_(INTERNAL_)?ALLOC_FAILED|"
    r"failed to allocate (scratch|workspace)|out of memory while trying to allocate",
    re.IGNORECASE | re.DOTALL,
)
# Not the memory that batches fill: a kernel's own on a chip, and the host's.
OTHERS = re.compile(r"memory space [sv]mem|pinned host|host memory", re.IGNORECASE)

# How bytes are written: "8589934592 bytes", "176.00MiB (184549376B)", "15.65G", "31.4GiB".
_SIZE = r"([\d.]+) ?([KMGT]?)i?B?"
# TPU's compiler states all that a program needs; the allocators what one array would have taken.
_OF_ALL = re.compile(rf"Used {_SIZE} of {_SIZE} hbm")
_OF_ONE = re.compile(
    rf"(?:allocate|allocating|reserve|allocate request for)(?: a buffer of)? {_SIZE}", re.IGNORECASE
)


WHICH_FITS = "`jaxft plan` says which batch would fit."


class Shortage(NamedTuple):
    """Memory that was missing, in bytes, as far as the message says.

    `needed` is a program's total and `allowed` the device's, which only a compiler knows; `asked`
    is the size of the array or workspace that did not fit.
    """

    needed: float | None
    allowed: float | None
    asked: float | None


def of_message(message: str) -> Shortage | None:
    """Parse XLA's message about memory on the device; None: it is about something else."""
    if not SIGNS.search(message) or OTHERS.search(message):
        return None
    used, one = _OF_ALL.search(message), _OF_ONE.search(message)
    needed, allowed = (_bytes(*used.groups()[i : i + 2]) if used else None for i in (0, 2))
    return Shortage(needed, allowed, _bytes(*one.groups()) if one and not used else None)


def _bytes(number: str, unit: str) -> float:
    return float(number.rstrip(".")) * UNITS[unit.upper()]


@contextmanager
def told(
    settings: Settings,
    where: str,
    phase: Phase | None = None,
    *,
    hint: str = WHICH_FITS,
    batch: str = "config.data.batch_size",
) -> Iterator[None]:
    """Turn a lack of memory within this block into one message that lists remedies.

    Args:
      settings: of the run.
      where: such as "in phase full"; completes "ran out of memory".
      phase: the phase, None outside a phase's step.
      hint: the state of the run, and how to continue.
      batch: the key or flag that sets the batch size.

    Raises:
      UserError: the device, or the host, ran out of memory.
    """
    try:
        yield
    except MemoryError as error:
        line = str(error).strip() or "Python does not say how much was requested"
        title = f"The host ran out of memory {where}:"
        raise UserError(title, [line, *_on_host(settings, batch)], hint) from error
    except RuntimeError as error:  # what XLA raises is one, and so is a backend that can't start
        found = of_message(str(error))
        if found is None:
            raise
        title = f"The device ran out of memory {where}, on {_devices()}:"
        lines = [_asked(found, str(error)), *remedies(settings, phase, batch)]
        raise UserError(title, lines, hint) from error


def remedies(settings: Settings, phase: Phase | None, batch: str) -> Iterator[str]:
    """List keys and variables, with their values, that save memory or allow more of it."""
    yield f"{batch}={settings.data.batch_size}: fewer images take less"
    if phase is not None and phase.inputs == "augmented":
        index = [p.name for p in settings.phases].index(phase.name)
        parts = phase.microbatches
        yield (
            f"config.{path_of(settings.phases, index)}.microbatches={parts}: a batch in "
            f"{2 * parts} parts takes about half; BatchNorm then sees one part at a time, so the "
            "results change"
        )
    if phase is not None and phase.inputs == "cached":
        yield (
            f"config.data.cache_memory_gb={settings.data.cache_memory_gb:g}: fewer cached features "
            "on the device, the others streamed from disk"
        )
    if platform.current().name == "gpu":
        more = pool.how_to_enlarge() or "most of it is already JAX's"
        yield (
            f"{pool.variable()}: JAX's pool is {pool.fraction():.0%} of the GPU's memory; {more} "
            "(nvidia-smi shows what other processes hold)"
        )


def _on_host(settings: Settings, batch: str) -> Iterator[str]:
    data = settings.data
    yield f"config.data.memory_gb={data.memory_gb:g}: fewer resized images kept in memory"
    if data.workers:
        yield f"config.data.workers={data.workers}: each process holds images of its own"
    yield f"{batch}={data.batch_size}: fewer images are read ahead"


def _asked(found: Shortage, message: str) -> str:
    if found.needed is not None and found.allowed is not None:
        said = f"{found.needed / GIB:.2f} GiB needed, {found.allowed / GIB:.2f} GiB available"
    elif found.asked is not None:
        said = f"{found.asked / GIB:.2f} GiB were requested at once"
    else:
        said = "the size of the request is not stated"
    return f"{said} (XLA: {message.strip().splitlines()[0][:200]})"


def _devices() -> str:
    count = jax.device_count()
    return f"{count} {platform.current().name} device{'s' if count > 1 else ''}"
