"""The mesh, and what goes on it: replicated trees, batches split along the axis `data`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
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


def mean(tree: Any) -> Any:
    """The mean over the devices of a tree of local values; inside `shard_map` over the mesh.

    On one device it is the tree itself: XLA CPU would copy all of it for a reduction of one.
    """
    return lax.pmean(tree, AXIS) if lax.axis_size(AXIS) > 1 else tree


def shard_map(function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Any:
    """`jax.shard_map`, which checks on more than one device that what is replicated is reduced."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=mesh.size > 1
    )


def fetch(tree: Any) -> Any:
    """Bring a tree of device arrays to the host as NumPy arrays, waiting for them."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
