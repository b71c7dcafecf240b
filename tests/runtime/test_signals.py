"""A signal as a wish to stop, which interrupts nothing but tracing."""

import os
import signal
import sys
import time
import weakref

import jax
import jax.numpy as jnp
import pytest

from jaxft.errors import Interrupted
from jaxft.runtime import signals
from jaxft.runtime.signals import told_to_stop


def end():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_a_wish_and_a_second_one_an_order():
    with told_to_stop() as stop:
        end()
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            end()


def test_tracing_is_interrupted():
    @jax.jit
    def traced(x):
        end()
        return jnp.sin(x)

    with told_to_stop() as stop:
        with pytest.raises(Interrupted):
            traced(1.0)
        assert stop.is_set()


def test_tracing_that_begins_later_is_interrupted_too(monkeypatch):
    monkeypatch.setattr(signals, "SECONDS", 0.1)

    @jax.jit
    def traced(x):
        time.sleep(5)
        return jnp.sin(x)

    with signals.told_to_stop():
        end()
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            traced(1.0)
        assert time.monotonic() - begun < 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


class Dying:
    def __del__(self):
        end()


class SetThatSignals(set[object]):
    def discard(self, item):
        end()
        super().discard(item)


def forget():
    key = Dead()
    found: weakref.WeakSet[Dead] = weakref.WeakSet([key])
    vars(found)["data"] = SetThatSignals(vars(found)["data"])  # which its callback takes key out of
    del key


class Dead:
    pass


@pytest.mark.parametrize("die", [Dying, forget])
def test_what_is_raised_while_an_object_dies_would_be_lost(monkeypatch, die):
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    monkeypatch.setattr(signals, "SECONDS", 0.1)

    @jax.jit
    def traced(x):
        die()
        time.sleep(5)
        return jnp.sin(x)

    with signals.told_to_stop(), pytest.raises(Interrupted):
        traced(1.0)
    assert lost == []


def test_a_program_that_calls_python_is_not():
    @jax.jit
    def calling(x):
        return jax.pure_callback(lambda a: (end(), a)[1], jax.ShapeDtypeStruct((), x.dtype), x)

    with told_to_stop() as stop:
        found = calling(jnp.float32(2.0))
        assert float(found) == 2.0 and stop.is_set()
