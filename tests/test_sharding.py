"""Trees on the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxft import sharding


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_donating_a_replica_leaves_its_source_alive(devices):
    mesh = sharding.data_mesh(devices)
    on_host = {"a": np.arange(1024.0, dtype=np.float32)}
    on_device = sharding.replicate(on_host, mesh)
    add_one = jax.jit(lambda tree: jax.tree.map(lambda a: a + 1, tree), donate_argnums=0)
    for source in (on_host, on_device, {"a": jnp.arange(1024.0)}):
        replica = sharding.replicate(source, mesh)
        after = jax.block_until_ready(add_one(replica))
        assert replica["a"].is_deleted()
        np.testing.assert_array_equal(after["a"], np.arange(1024) + 1)
        np.testing.assert_array_equal(source["a"], np.arange(1024))


def test_writing_into_the_source_leaves_the_replica_as_it_was():
    source = np.zeros(1024, np.float32)
    replica = sharding.replicate(source, sharding.data_mesh(1))
    source[:] = 1
    np.testing.assert_array_equal(replica, np.zeros(1024))


def test_a_mesh_has_as_many_devices_as_asked_for():
    assert sharding.data_mesh().devices.shape == (8,)
    assert sharding.data_mesh(3).devices.shape == (3,)
    assert sharding.data_mesh(3).axis_names == ("data",)


def test_replicas_are_whole_and_batches_divided():
    mesh, rows = sharding.data_mesh(4), np.arange(8.0, dtype=np.float32)
    whole, divided = sharding.replicate(rows, mesh), sharding.split_batch(rows, mesh)
    assert [shard.data.shape for shard in whole.addressable_shards] == [(8,)] * 4
    parts = [np.asarray(shard.data).tolist() for shard in divided.addressable_shards]
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7]]
    np.testing.assert_array_equal(sharding.fetch((whole, divided)), (rows, rows))
