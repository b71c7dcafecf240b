"""Accelerators that are not there, to compile for: a TPU slice by libtpu, GPUs by CUDA's plugin."""

import importlib.util
import os
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxft.devices import chips, platform, sharding
from jaxft.devices.cards import CARDS
from jaxft.devices.chips import SLICES, TPUS, Chip
from jaxft.devices.platform import Platform
from jaxft.errors import UserError

# libtpu asks a metadata server that only a TPU has, and refuses a second process.
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


class Target(NamedTuple):
    """Target of a compilation: a mesh over its devices, and their kind.

    `chips` is the number of chips; `device` is the part of a chip that one device has, half a chip
    on v4.
    """

    name: str
    mesh: Mesh
    platform: Platform
    chips: int
    device: Chip | None


def here() -> Target:
    """Return the devices that are there."""
    mesh, current = sharding.data_mesh(), platform.current()
    name = f"{mesh.size} {current.name} device{'s' if mesh.size > 1 else ''} ({current.chip})"
    return Target(name, mesh, current, mesh.size, chips.of_platform(current))


def slice_of(name: str) -> Target:
    """Return a slice such as v5e:2x4, or GPUs of one host such as h100:8, there or not.

    Raises:
      UserError: the topology is unknown (lists the known ones), or its compiler is missing.
    """
    card, colon, number = name.partition(":")
    if card in CARDS and (not colon or re.fullmatch(r"[1-9]\d?", number)):
        return _gpus(name, card, int(number or 1))
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
    if match and match[2] in SLICES.get(match[1], ()):
        return _tpus(name, match[1], match[2])
    known = [f"{chip}: {', '.join(shapes)}" for chip, shapes in SLICES.items()]
    known.append(f"{', '.join(CARDS)}: one, or several of one host, such as h100:8")
    raise UserError(f"No topology {name!r}; known, chip by chip:", known, "Such as v5e:2x4.")


def _tpus(name: str, chip: str, shape: str) -> Target:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "Compiling for a TPU that is not there needs the package libtpu.",
            hint="pip install 'jaxft[tpu]' (or 'jax[tpu]') brings the one that fits this JAX.",
        )
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    mesh = _mesh("tpu", topology_name=name)
    count = chips.chips_of(shape)
    return Target(name, mesh, Platform("tpu", chip), count, TPUS[chip].share(mesh.size // count))


def _gpus(name: str, card: str, count: int) -> Target:
    if importlib.util.find_spec("jax_cuda13_plugin") is None:
        raise UserError(
            "Compiling for a GPU that is not there needs JAX's CUDA plugin (no CUDA, no driver).",
            hint="pip install 'jaxft[cuda_compiler]', which brings the one that fits this JAX.",
        )
    described = CARDS[card].target_config()
    mesh = _mesh("cuda", target_config=described, topology=f"1x1x{count}")
    platform = Platform("gpu", CARDS[card].name)
    return Target(name, mesh, platform, count, chips.of_platform(platform))


def _mesh(backend: str, **described: str) -> Mesh:
    """Return a mesh over a topology that is described to JAX's compiler for `backend`."""
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform=backend, **described).devices
    return Mesh(np.asarray(devices), (sharding.AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
