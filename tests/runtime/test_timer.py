"""Seconds of compilation, and lines about those that take long."""

import io
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from jaxft.runtime import timer
from jaxft.runtime.console import Console
from jaxft.runtime.timer import COMPILED, LOWERED, Timer, in_words, timing


@pytest.fixture
def stream():
    return io.StringIO()


def compile_for(clock, seconds, name="jit(one_step)"):
    """What JAX tells of one compilation, which takes so long."""
    clock.listen(LOWERED, 0.1, fun_name=name)
    time.sleep(seconds)
    clock.listen(COMPILED, seconds, fun_name=name)


def test_a_long_compilation_is_told_while_it_lasts(stream, monkeypatch):
    monkeypatch.setattr(timer, "LONG", 0.05)
    clock = Timer(Console(stream), phase="full")
    clock.listen(LOWERED, 0.1, fun_name="jit(one_step)")
    ends = time.monotonic() + 10
    while not stream.getvalue() and time.monotonic() < ends:
        time.sleep(0.01)
    assert stream.getvalue() == "compiling the step of full ...\n"
    clock.listen(COMPILED, 83.4, fun_name="jit(one_step)")
    assert stream.getvalue().endswith("\ncompiled in 1:23\n")
    assert clock.compile == 83.4


def test_a_short_one_is_not(stream, monkeypatch):
    monkeypatch.setattr(timer, "LONG", 0.2)
    clock = Timer(Console(stream), phase="full")
    compile_for(clock, 0.0)
    time.sleep(0.3)
    assert stream.getvalue() == ""
    assert threading.active_count() < 100


def test_each_thread_has_its_own(stream, monkeypatch):
    """A short one of the thread that reads ahead does not end the long one beside it."""
    monkeypatch.setattr(timer, "LONG", 0.3)
    clock, begun, may_end = Timer(Console(stream)), threading.Event(), threading.Event()

    def reading_ahead():
        clock.listen(LOWERED, 0.1, fun_name="jit(epoch_order)")
        begun.set()
        may_end.wait(10)
        clock.listen(COMPILED, 0.0, fun_name="jit(epoch_order)")

    beside = threading.Thread(target=reading_ahead)
    beside.start()
    begun.wait(10)
    clock.listen(LOWERED, 0.1, fun_name="jit(features)")
    may_end.set()
    beside.join()
    time.sleep(0.5)
    assert stream.getvalue() == "compiling the body's features ...\n"
    clock.listen(COMPILED, 0.2, fun_name="jit(features)")
    assert stream.getvalue().endswith("compiled in 0.2s\n")


def test_jax_tells_of_a_program_before_and_after_it_is_compiled(stream, monkeypatch):
    monkeypatch.setattr(timer, "LONG", 0.0)

    def one_step(x):
        jax.debug.callback(lambda: None)  # no cache keeps such a program
        return jnp.tanh(x) @ jnp.cos(x)

    with timing(Console(stream)) as clock:
        clock.phase = "full"
        jax.jit(one_step)(jnp.ones((3, 3))).block_until_ready()
        spent = clock.compile
    assert spent > 0
    assert "compiling the step of full ...\n" in stream.getvalue()
    jax.jit(lambda x: one_step(x) + 1)(jnp.ones((3, 3)))
    assert clock.compile == spent, "it still listens"


@pytest.mark.parametrize(
    ("function", "phase", "words"),
    [
        ("jit(one_step)", "full", "the step of full"),
        ("jit(local_epoch)", "head", "the epochs of head"),
        ("jit(init)", "", "the first weights"),
        ("jit(<lambda>)", "full", "a program of full"),
        ("", "", "a program"),
    ],
)
def test_programs_in_words(function, phase, words):
    assert in_words(function, phase) == words
