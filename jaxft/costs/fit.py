"""Verdict on the memory of a program, and the batch that would fit."""

from typing import NamedTuple

from jaxft.costs.program import Program, Refusal


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
