"""One run that is killed again and again, at moments that chance draws."""

import contextlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import forks
from places import SUPPORT
from same_end import rows

SHORTEST = 3  # cycles of the last phase, 1 + 2 + 4 epochs
WORDS_OF = (  # of a stack, innermost first: what the process was about
    ("saving", ("checkpoint.py", "orbax", "/snapshot.py")),
    ("compiling", ("compiler.py", "compilation_cache")),
    ("range test", ("range_test.py", "/finder/")),
    ("caching features", ("/features/cache.py", "extraction.py")),
    ("evaluating", ("validate.py", "valid_features", "/answers/")),
    ("training", ("/fit.py", "/runners.py", "/loop.py")),
)
BEGINNING = "beginning"
IN_VAIN = 3  # starts in a row that save nothing new, before the next ones get more time
LATER = 0.1  # seconds, at most, that a start goes on once it has done its part
INTERRUPTED = 75


class Kills(NamedTuple):
    """The runs that it took, the kills by what they met, and the steps done more than once."""

    runs: int
    met: Counter[str]
    repeated: int


def kills(folder: Path, count: int, seed: int, number: int, images: Path) -> Kills:
    """Kill runs `count` times, and compare each that came to its end with one left alone.

    A delay before a kill is uniform from 0 to a limit that grows where several starts in a row
    save nothing new. One that has saved its part of the steps is killed soon after, so that one
    run lasts for all of them.

    Raises:
      AssertionError: an end differs, or a start ended otherwise than told to.
    """
    chance, met = random.Random(seed), Counter[str]()
    cycles = max(SHORTEST, round(math.log2(count)))  # about as many epochs as kills
    whole = folder / "untouched"
    started = time.monotonic()
    assert leave_alone(whole, images, folder / "cache_untouched", cycles) == 0, told(folder)
    limit, runs, done = (time.monotonic() - started) / 10, 0, 0
    steps = rows(whole / "metrics.jsonl")[-1]["global_step"]
    while done < count:
        runs += 1
        workdir, caches = folder / f"run_{runs}", folder / f"cache_{runs}"
        ended, in_vain = False, 0
        while done < count and not ended:
            before = reached(workdir)
            part = before + (steps - before) / (count - done) if before < steps else math.inf
            delay, later = chance.uniform(0, limit), chance.uniform(0, LATER)
            start = begin(workdir, images, caches, cycles)
            ended, where = kill(start, Moment(delay, workdir, part, later), number)
            if ended:
                break
            met[where] += 1
            done += 1
            in_vain = 0 if reached(workdir) > before else in_vain + 1
            if in_vain == IN_VAIN:
                limit, in_vain = limit * 1.25, 0
        if not ended:
            assert leave_alone(workdir, images, caches, cycles) == 0, told(folder)
        assert forks.same_end(workdir, whole), f"{workdir} ended otherwise"
        shutil.rmtree(caches, ignore_errors=True)
    repeated = sum(repeats(folder / f"run_{index + 1}") for index in range(runs))
    return Kills(runs, met, repeated)


def begin(workdir: Path, images: Path, caches: Path, cycles: int) -> forks.Start:
    """Begin the run, or go on with it."""
    config = f"--config={SUPPORT / 'tiny_config.py'}:{images}"
    often = "--config.checkpoint_minutes=0.0005"
    longer = f"--config.phases[2].cycles={cycles}"
    words = ["train", config, f"--workdir={workdir}", longer, often]
    return forks.begin(words, workdir.parent, caches)


def leave_alone(workdir: Path, images: Path, caches: Path, cycles: int) -> int:
    """Run to the end; return the exit code."""
    return begin(workdir, images, caches, cycles).wait()


class Moment(NamedTuple):
    """When to kill: after a delay, or a while after a checkpoint has so many steps behind it."""

    delay: float  # seconds
    workdir: Path
    steps: float
    later: float  # seconds


def kill(start: forks.Start, moment: Moment, number: int) -> tuple[bool, str]:
    """Send a signal at a moment; tell if the start had ended, or what it was about.

    Raises:
      AssertionError: it ended with neither 0 nor what the signal asks for.
    """
    until, there = time.monotonic() + moment.delay, False
    code = start.ended()
    while code is None and time.monotonic() < until:
        time.sleep(0.01)
        if not there and reached(moment.workdir) >= moment.steps:
            until, there = min(until, time.monotonic() + moment.later), True
        code = start.ended()
    if code is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(start.pid, signal.SIGUSR1)
            time.sleep(0.02)  # for the stack to be written
            os.kill(start.pid, number)
        code = start.wait()
    wanted = (0, -number) if number == signal.SIGKILL else (0, -number, INTERRUPTED)
    # A start that has not yet asked for the stack's signal dies of it.
    assert code in (*wanted, -signal.SIGUSR1), f"ended with {code}: {start.err.read_text()}"
    return code == 0, place_of(start.stack)


def place_of(stack: Path) -> str:
    """Tell what a process was about, by the stacks of its threads."""
    text = stack.read_text() if stack.exists() else ""
    for place, words in WORDS_OF:
        if any(word in text for word in words):
            return place
    return BEGINNING


def reached(workdir: Path) -> int:
    """Return the steps that the newest checkpoint has behind it; 0 without one."""
    found = 0
    for file in workdir.glob("checkpoints/*/cursor/metadata"):
        with contextlib.suppress(OSError, ValueError):
            found = max(found, json.loads(file.read_text())["global_step"])
    return found


def repeats(workdir: Path) -> int:
    """Return the steps that starts took again after one that was told to end, and could save."""
    starts = rows(workdir / "starts.jsonl")
    pairs = itertools.pairwise(starts)
    return sum(before["to_step"] - after["from_step"] for before, after in pairs)


def told(folder: Path) -> str:
    """Return what the last start said on stderr."""
    return (folder / "err.txt").read_text()
