"""A short version of `python tests/chaos.py`: runs broken at random, which end as if they were not.

Each runs in a process of its own, for it forks before JAX has a backend.
"""

import shutil
import subprocess
import sys

import pytest
from places import SUPPORT

pytestmark = [pytest.mark.slow(minutes=1), pytest.mark.second_process]

CHAOS = SUPPORT.with_name("chaos.py")


def chaos(*flags):
    words = [sys.executable, str(CHAOS), *flags]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_kills_at_random_moments():
    told = chaos("--kills=5", "--seed=1")
    assert told.startswith("5 x SIGKILL in 1 run,")
    assert "to the bit" in told


def test_a_run_that_is_told_to_end_repeats_no_step():
    told = chaos("--kills=3", "--signal=TERM", "--seed=2")
    assert "steps repeated: 0\n" in told and "to the bit" in told


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc")
def test_a_disk_that_fails():
    told = chaos("--places=131", "--seed=40")
    assert "operations on the disk, " in told and "to the bit" in told


def test_a_flipped_bit_is_told_or_without_effect():
    told = chaos("--flips=1", "--every=30", "--seed=3")
    assert "bits flipped" in told and "WRONG" not in told
