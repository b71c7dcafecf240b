"""The platform that a program is lowered for, whether its device is there or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax


class Platform(NamedTuple):
    """`name`: cpu, gpu or tpu. `chip`: for a TPU its generation (v5e), else what JAX calls it."""

    name: str
    chip: str


# JAX's `device_kind` of TPU generations -> the name of their slices.
TPU_CHIPS = {
    "TPU v2": "v2",
    "TPU v3": "v3",
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}

_target: ContextVar[Platform | None] = ContextVar("target", default=None)


def current() -> Platform:
    """Return the platform of a function traced now: the target, else JAX's default device."""
    return _target.get() or of_device(jax.devices()[0])


def of_device(device: jax.Device) -> Platform:
    """Return the platform of a device, or of one of a topology that is not there."""
    name = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    return Platform(name, TPU_CHIPS.get(device.device_kind, device.device_kind))


@contextmanager
def targeting(name: str, chip: str) -> Iterator[None]:
    """Lower functions that are traced meanwhile for that platform.

    A function that was traced before keeps its platform: make it anew in here.
    """
    token = _target.set(Platform(name, chip))
    try:
        yield
    finally:
        _target.reset(token)
