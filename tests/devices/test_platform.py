"""Lowering for a present or an absent device."""

import jax
import jax.numpy as jnp
import pytest

from jaxft.devices import platform
from jaxft.models.conv.convolution import conv


def lowered():
    x, kernel = jnp.zeros((2, 8, 8, 16)), jnp.zeros((1, 1, 16, 32))
    return jax.jit(lambda x, k: conv(x, k)).lower(x, kernel).as_text()


def test_without_a_target_it_is_the_device_that_is_there():
    assert platform.current() == ("cpu", "cpu")
    assert "convolution" not in lowered()


def test_a_target_chooses_the_lowering_while_it_lasts():
    with platform.targeting("tpu", "v5e"):
        assert platform.current() == ("tpu", "v5e")
        assert "convolution" in lowered()
    assert "convolution" not in lowered()


def test_a_target_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), platform.targeting("tpu", "v5e"):
        _ = 1 / 0
    assert platform.current().name == "cpu"
