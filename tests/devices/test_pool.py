"""The memory that a program is checked against."""

import types
from typing import cast

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxft.devices import chips, pool, topology
from jaxft.devices.platform import Platform
from jaxft.devices.topology import Target
from jaxft.errors import UserError

GIB = 2**30
H100 = next(chip for chip in chips.GPUS if chip.name == "H100")
VARIABLES = (*pool.VARIABLES, "XLA_PYTHON_CLIENT_ALLOCATOR")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """An environment that says nothing of the pool."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


TWO = [types.SimpleNamespace(id=number) for number in range(2)]


def absent(platform, chip, devices=TWO):
    """A target of devices that this process has not, two if not said otherwise."""
    mesh = types.SimpleNamespace(devices=np.asarray(devices), size=2)
    return Target("absent", cast(Mesh, mesh), platform, 2, chip)


def pool_of(target):
    """The pool of a target that has one."""
    found = pool.of_target(target)
    assert found
    return found


GPU = Platform("gpu", "NVIDIA H100 80GB HBM3")
MEMORY = 84_942_979_072  # bytes, as the driver states


def test_of_a_gpu_that_is_not_there_it_is_three_quarters():
    found = pool_of(absent(GPU, H100))
    assert found.bytes == 0.75 * MEMORY
    assert "75% of the 79.1 GiB of such a GPU" in found.words
    assert "XLA_CLIENT_MEM_FRACTION=0.9 gives it more" in found.words


@pytest.mark.parametrize("name", pool.VARIABLES)
def test_the_environment_sets_the_share(name, monkeypatch):
    monkeypatch.setenv(name, "0.45")
    found = pool_of(absent(GPU, H100))
    assert found.bytes == 0.45 * MEMORY
    assert "45%" in found.words and f"{name}=0.9 gives it more" in found.words
    monkeypatch.setenv(name, "0.95")
    assert "gives it more" not in pool_of(absent(GPU, H100)).words


@pytest.mark.parametrize("text", ["many", "0", "1.5", "-0.5", "nan"])
def test_a_share_that_is_none_is_the_users_mistake(text, monkeypatch):
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", text)
    with pytest.raises(UserError, match=f"XLA_CLIENT_MEM_FRACTION={text}"):
        pool.of_target(absent(GPU, H100))


def test_without_a_pool_it_is_the_card(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")
    assert pool_of(absent(GPU, H100)).bytes == MEMORY


def test_a_card_that_no_compiler_has_been_told_of_has_the_memory_that_it_is_sold_with():
    described = Platform("gpu", "NVIDIA L4")
    card = chips.of_platform(described)
    assert card
    assert pool_of(absent(described, card)).bytes == 0.75 * card.hbm_bytes


def test_of_a_tpu_that_is_not_there_it_is_the_chip(monkeypatch):
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.5")  # which is for GPUs
    chip = chips.TPUS["v5e"]
    found = pool_of(absent(Platform("tpu", "v5e"), chip))
    assert found.bytes == chip.hbm_bytes and "MEM_FRACTION" not in found.words


class Device:
    """A device of this process, with an allocator that states its limit."""

    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats


def test_a_device_that_is_there_says_itself(monkeypatch):
    roomy, tight, blind = (
        Device({"bytes_limit": 60 * GIB, "peak_bytes_in_use": 7}),
        Device({"bytes_limit": 59 * GIB, "peak_bytes_in_use": 5}),
        Device(None),
    )
    elsewhere = Device({"bytes_limit": 1})  # another process's
    monkeypatch.setattr(jax, "local_devices", lambda: [roomy, tight, blind])
    found = pool_of(absent(GPU, H100, [roomy, tight, blind, elsewhere]))
    assert found.bytes == 59 * GIB  # the tightest, and not what the card is sold with
    assert "75% of the GPU's memory" in found.words
    assert pool.peak([roomy, tight, blind]) == 7
    assert pool.limit([blind]) is None and pool.peak([blind]) is None


def test_of_a_cpu_nothing_is_known():
    target = topology.here()._replace(mesh=Mesh(np.asarray(jax.devices()[:1]), ("data",)))
    assert pool.of_target(target) is None
