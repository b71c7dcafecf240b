"""The mesh and the arrays on it: replicated trees, batches split along the axis `data`.

The mesh spans the devices of all processes, those of process 0 first, so that process h holds the
h-th part of an array that is divided over it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Format, Layout
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxft.devices import platform
from jaxft.runtime import hosts

AXIS = "data"
LARGE = 2**14  # numbers in an array that is worth a collective of its own


def data_mesh(devices: int | None = None) -> Mesh:
    """Return a mesh of one axis, `data`, over the first `devices` devices (all when None)."""
    chosen = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))[:devices]
    return Mesh(np.asarray(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copy every leaf to every device of the mesh.

    The copy goes by way of host memory, so that nothing aliases the source: `device_put` of an
    array that is on a device already may share its buffer, and donating the one then deletes the
    other.
    """
    on_host = jax.tree.map(np.array, jax.device_get(tree))
    places = whole(on_host, mesh)
    if hosts.count() == 1:
        return jax.device_put(on_host, places, may_alias=False)
    sharding = NamedSharding(mesh, PartitionSpec())
    with jax.transfer_guard("allow"):  # asked for, as `device_put` is
        placed = jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(sharding, a, a.shape), on_host
        )
        return jax.device_put(placed, places) if places_kernels() else placed


def whole(tree: Any, mesh: Mesh) -> Any:
    """Return the place and layout of every leaf of a tree that lies whole on every device.

    On a GPU kernels lie with their outputs first, as cuDNN takes them and leaves their gradients.
    Otherwise every step would transpose all of them, and copy the arrays that the optimizer
    overwrites.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    kernel = Format(Layout((3, 0, 1, 2)), sharding) if places_kernels() else sharding
    return jax.tree.map(lambda leaf: kernel if leaf.ndim == 4 else sharding, tree)


def places_kernels() -> bool:
    """Tell whether kernels have a layout of their own on this platform."""
    return platform.current().name == "gpu"


def split_batch(tree: Any, mesh: Mesh) -> Any:
    """Place host arrays with their first axis divided over the mesh.

    With several processes each hands over its own share, `my_rows` of the global batch.
    """
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    if hosts.count() == 1:
        return jax.device_put(tree, sharding)
    with jax.transfer_guard("allow"):  # asked for, as `device_put` is
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), tree)


def my_rows(batch: np.ndarray) -> np.ndarray:
    """Return the share of a global batch that this process hands over."""
    size = len(batch) // hosts.count()
    return batch[hosts.index() * size : (hosts.index() + 1) * size]


def fetch_rows(array: jax.Array) -> np.ndarray:
    """Return this process's share of an array that is divided over the mesh, waiting for it."""
    if hosts.count() == 1:
        return np.asarray(jax.device_get(array))
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def mean(tree: Any) -> Any:
    """Average a tree of local values over the devices; inside `shard_map` over the mesh.

    On one device it is the tree itself: XLA CPU would copy all of it for a reduction of one. On
    TPU each large array is reduced alone, as soon as it is there (compiler.py), and the small ones
    as one array.
    """
    if lax.axis_size(AXIS) == 1:
        return tree
    if platform.current().name != "tpu":
        return lax.pmean(tree, AXIS)
    leaves, shape = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if leaf.size < LARGE]
    together = dict(zip(small, _mean_of_small([leaves[i] for i in small]), strict=True))
    means = [together[i] if i in together else lax.pmean(a, AXIS) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(shape, means)


def _mean_of_small(arrays: list[jax.Array]) -> list[jax.Array]:
    """Average arrays of one dtype over the devices, laid end to end for one collective."""
    if not arrays:
        return []
    ends = np.cumsum([a.size for a in arrays])[:-1]
    means = lax.pmean(jnp.concatenate([a.reshape(-1) for a in arrays]), AXIS)
    parts = jnp.split(means, ends)
    return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def shard_map(function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Any:
    """Call `jax.shard_map`, which checks on several devices that replicated results are reduced."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=mesh.size > 1
    )


def fetch(tree: Any) -> Any:
    """Bring a tree of device arrays to the host as NumPy arrays, waiting for them."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
