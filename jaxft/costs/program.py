"""A compiled program or the compiler's refusal of it, and whether it fits a device's memory."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxft.costs.costs import Costs


class Refusal(NamedTuple):
    """A program that the compiler refused: the bytes that it needs, and those allowed."""

    needed: float
    allowed: float


@dataclass(frozen=True)
class Program:
    """One compiled program: its costs, or its refusal, and the seconds of its compilation."""

    name: str
    images: int  # a device's share of a batch
    costs: Costs | Refusal
    compile_seconds: float


class Fit(NamedTuple):
    """Verdict on a program in a device's pool, and the batch (over all devices) that would fit.

    `batch` is an extrapolation from one compilation: the arguments keep their size, and the rest
    grows with the images of a device. None: not even one image a device, or nothing is known.
    """

    fits: bool | None
    needed: float
    allowed: float | None
    batch: int | None


def fit_of(program: Program, memory: float | None, devices: int) -> Fit:
    """Hold a program against the memory of a device's pool (bytes, None if unknown)."""
    found = program.costs
    if isinstance(found, Refusal):
        # The share of arguments is not known: all of it is taken to grow with the batch.
        images = int(program.images * found.allowed / found.needed)
        return Fit(False, found.needed, found.allowed, _batch(images, devices))
    used = found.memory
    if memory is None:
        return Fit(None, used.total, None, None)
    growing = max(used.temporary, 1) / program.images
    images = int((memory - (used.total - used.temporary)) / growing)
    return Fit(used.total <= memory, used.total, memory, _batch(images, devices))


def _batch(images: int, devices: int) -> int | None:
    """Return the batch over all devices, a multiple of 8 images each where at least 8 fit."""
    if images < 1:
        return None
    return devices * (images // 8 * 8 if images >= 8 else images)
