"""A process that is told to stop ends in time, also where no handler of Python's can run."""

import signal
import subprocess
import sys
import time

import pytest

from jaxft.runtime import grace

# A lock that is taken twice is waited for in C, like a compilation, and no signal interrupts that.
SCRIPT = """
import ctypes, signal, sys
from jaxft.runtime import grace

grace.SECONDS, grace.AT_ONCE = 1.0, 1.0
if "ours" in sys.argv:
    grace.own_process()
for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the former
    signal.signal(number, lambda *_: None)
with grace.watching(lambda: "compiles" in sys.argv):
    print("ready", flush=True)
    c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)
"""


@pytest.fixture
def stuck():
    """Starts a process that hangs in C, and ends it at the test's end."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_compilation_does_not_outlast_the_grace_time(stuck):
    process = stuck("ours", "compiles")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "told to stop 1 s ago, and XLA is still compiling" in told
    assert "resumes from the last checkpoint" in told


@pytest.mark.parametrize("words", [["ours"], ["compiles"]])
def test_what_compiles_nothing_or_is_not_ours_is_left_alone(words, stuck):
    process = stuck(*words)
    process.send_signal(signal.SIGTERM)
    time.sleep(2.5)
    assert process.poll() is None


def test_a_second_signal_ends_what_hangs(stuck):
    process = stuck("ours")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 75 and "told to stop twice" in told


def test_what_was_there_is_put_back():
    before = signal.set_wakeup_fd(-1)
    grace.own_process()
    try:
        with grace.watching(lambda: False):
            assert signal.set_wakeup_fd(-1) >= 0
        assert signal.set_wakeup_fd(before) == -1
    finally:
        grace._ours.clear()
