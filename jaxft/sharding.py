"""The mesh, and what goes on it: replicated trees, batches split along the axis `data`."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def data_mesh(devices: int | None = None) -> Mesh:
    """A mesh of one axis, `data`, over the first `devices` devices (all when None)."""
    chosen = jax.devices()[:devices]
    return Mesh(np.asarray(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A fresh copy of every leaf on every device of the mesh.

    By way of host memory, so that nothing aliases the source: `device_put` of an array that is
    on a device already may share its buffer, and donating the one then deletes the other.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.device_put(jax.tree.map(np.array, jax.device_get(tree)), sharding, may_alias=False)


def split_batch(tree: Any, mesh: Mesh) -> Any:
    """Place host arrays with their first axis divided over the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def fetch(tree: Any) -> Any:
    """Bring a tree of device arrays to the host as NumPy arrays, waiting for them."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
