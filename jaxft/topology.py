"""A TPU slice that is not there, to compile for: needs libtpu, and no TPU."""

import importlib.util
import os
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxft import chips, sharding
from jaxft.chips import SLICES, TPUS, Chip
from jaxft.errors import UserError
from jaxft.models import platform
from jaxft.models.platform import Platform

# libtpu asks a metadata server that only a TPU has, and refuses a second process.
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


class Target(NamedTuple):
    """What to compile for: a mesh over its devices, and what each of them is.

    `chips` is their number; `device` is what one device has, which on v4 is half a chip.
    """

    name: str
    mesh: Mesh
    platform: Platform
    chips: int
    device: Chip | None


def here() -> Target:
    """The devices that are there."""
    mesh, current = sharding.data_mesh(), platform.current()
    name = f"{mesh.size} {current.name} device{'s' if mesh.size > 1 else ''} ({current.chip})"
    return Target(name, mesh, current, mesh.size, chips.of_platform(current))


def slice_of(name: str) -> Target:
    """A slice such as v5e:2x4, whose chips need not be there.

    Raises:
      UserError: no such slice, with those that are known; or libtpu is not installed.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
    if not match or match[2] not in SLICES.get(match[1], ()):
        known = [f"{chip}: {', '.join(shapes)}" for chip, shapes in SLICES.items()]
        raise UserError(f"No topology {name!r}; known, chip by chip:", known, "Such as v5e:2x4.")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "Compiling for a TPU that is not there needs the package libtpu.",
            hint="pip install 'jaxft[tpu]' (or 'jax[tpu]') brings the one that fits this JAX.",
        )
    from jax.experimental import topologies

    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    mesh = Mesh(np.asarray(devices), (sharding.AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    count = chips.chips_of(match[2])
    device = TPUS[match[1]].share(len(devices) // count)
    return Target(name, mesh, Platform("tpu", match[1]), count, device)
