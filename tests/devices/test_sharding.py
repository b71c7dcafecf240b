"""Trees on the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxft.devices import platform, sharding


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


def test_on_tpu_large_arrays_have_a_collective_each_and_small_ones_share_one():
    sizes = {"kernel": (256, 256), "other": (3, 128, 128), "scale": (64,), "bias": (), "loss": (1,)}
    random = np.random.default_rng(0)
    tree = {name: random.normal(size=(8, *size)) for name, size in sizes.items()}
    spec, mesh = PartitionSpec(sharding.AXIS), sharding.data_mesh()

    def averaged(tree):
        return sharding.mean(jax.tree.map(lambda a: a[0], tree))

    with platform.targeting("tpu", "v5e"):
        mapped = jax.jit(sharding.shard_map(averaged, mesh, spec, PartitionSpec()))
        assert str(jax.make_jaxpr(mapped)(tree)).count("psum") == 3
        found = mapped(tree)
    for name, array in tree.items():
        np.testing.assert_allclose(found[name], array.mean(0), rtol=1e-5, atol=1e-6)
