"""Memory that JAX hands out on a device, which is less than the device has.

On a GPU JAX takes a share of the memory when it starts, three quarters unless told otherwise, and
all arrays and programs live in that pool. A program fits if it fits into the pool.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxft.devices.cards import CARDS
from jaxft.devices.chips import Chip
from jaxft.devices.platform import Platform
from jaxft.devices.topology import Target
from jaxft.errors import UserError

GIB = 2**30

# A GPU's share that is the pool. The second is the older name; JAX refuses both at once.
VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
# JAX's documentation, "GPU memory allocation". A GPU that is there states its pool itself, also
# where it may grow beyond; for one that is not there, this figure holds everywhere.
USUAL_FRACTION = 0.75
# Leaves room for CUDA's own context, cuDNN and captured graphs.
HIGHEST_FRACTION = 0.9


class Pool(NamedTuple):
    """Bytes that JAX hands out on one device, and words on their origin and on getting more."""

    bytes: float
    words: str


def of_target(target: Target) -> Pool | None:
    """Return the pool on each device of a target; None where nothing is known, as on a CPU.

    A device that is there states the memory that JAX may use. On one that is not there, the pool is
    the share of its chip's memory that JAX would take.
    """
    stated = limit(list(target.mesh.devices.flat))
    on_gpu = target.platform.name == "gpu"
    if stated is not None:
        return Pool(stated, _share_in_words("the GPU's memory") if on_gpu else "as the device says")
    if target.device is None:
        return None
    return of_absent(memory_of(target.platform, target.device), fraction() if on_gpu else 1.0)


def memory_of(described: Platform, chip: Chip) -> float:
    """Return the bytes on a chip that is not there: as its driver states, else as it is sold.

    The driver states a few percent more on cards with stacked memory.
    """
    stated = (card.memory for card in CARDS.values() if card.name == described.chip)
    return next(stated, chip.hbm_bytes)


def of_absent(memory: float, share: float) -> Pool:
    """Return the pool on a chip that is not there, of whose memory JAX takes a share."""
    if share == 1:
        return Pool(memory, "all the memory of such a chip")
    return Pool(share * memory, _share_in_words(f"the {memory / GIB:.1f} GiB of such a GPU"))


def limit(devices: Sequence[Any]) -> int | None:
    """Return the fewest bytes that JAX may use on any of these devices; None where none says."""
    return min(_stated(devices, "bytes_limit"), default=None)


def peak(devices: Sequence[Any]) -> int | None:
    """Return the most bytes in use on any device since the process began; None: none says."""
    return max(_stated(devices, "peak_bytes_in_use"), default=None)


def _stated(devices: Sequence[Any], key: str) -> list[int]:
    """Return a figure of the allocators of this process's own devices among these."""
    mine = [device for device in devices if device in jax.local_devices()]
    stats = [device.memory_stats() or {} for device in mine]
    return [int(found[key]) for found in stats if key in found]


def fraction() -> float:
    """Return the share of a GPU's memory that JAX takes, as the environment says.

    Raises:
      UserError: the variable is no number above 0 and up to 1.
    """
    if os.environ.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower() == "platform":
        return 1.0  # no pool: every array has its own allocation
    name = variable()
    text = os.environ.get(name) or str(USUAL_FRACTION)
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UserError(f"{name}={text} is not a share of a GPU's memory", hint="Such as 0.9.")
    return share


def variable() -> str:
    """Return the environment variable of the share: the one that is set, else today's name."""
    return next((name for name in VARIABLES if os.environ.get(name)), VARIABLES[0])


def how_to_enlarge() -> str:
    """Return a clause on enlarging a GPU's pool, "" where it is large already."""
    if fraction() >= HIGHEST_FRACTION:
        return ""
    return f"{variable()}={HIGHEST_FRACTION} gives it more"


def _share_in_words(memory: str) -> str:
    clauses = (f"JAX's pool, {fraction():.0%} of {memory}", how_to_enlarge())
    return "; ".join(filter(None, clauses))
