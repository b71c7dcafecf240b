"""Feeds a reader damaged and hostile files, and tells of every one that it takes amiss.

    python tests/fuzz/fuzz.py --reader=pth --inputs=100000 [--seed=0]

Prints the number of inputs, the errors by kind, the slowest input and the peak of memory. Ends with
1 if any input met something else than the reader's own error, took more than two seconds of CPU
time twice, four once, or more than 512 MiB; prints the smallest such input that Hypothesis finds.
SECURITY.md says what was run.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis

SECONDS = 2.0  # of CPU time for an input
MEBIBYTES = 512  # more than before, after an input
BATCH = 500  # inputs between which Hypothesis forgets what it has tried
MOST_AMISS = 5  # after which it is enough


class Reader(NamedTuple):
    """A reader: what is drawn for it, a function that reads that, and its own errors."""

    inputs: hypothesis.strategies.SearchStrategy[Any]
    read: Callable[[Any], Any]
    errors: tuple[type[Exception], ...]


class TooSlow(Exception):
    """An input has taken more than its time."""


@dataclass
class Found:
    """What was seen: inputs, the ends of their reading by kind, and those that are amiss."""

    inputs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    amiss: list[str] = field(default_factory=list)


def fuzz(reader: Reader, inputs: int, seed: int) -> Found:
    """Draw so many inputs, the same ones for a seed, and read each."""
    found = Found()
    before = signal.signal(signal.SIGVTALRM, _stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while found.inputs < inputs and len(found.amiss) < MOST_AMISS:
            batch = min(BATCH, inputs - found.inputs)
            try:
                _batch(reader, found, batch, seed + found.inputs)
            except Exception as error:  # the smallest input that is amiss, after others like it
                found.amiss.append(f"{type(error).__name__}: {error}\n{_note(error)}")
    signal.signal(signal.SIGVTALRM, before)
    return found


def _batch(reader: Reader, found: Found, size: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=size,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        report_multiple_bugs=False,
    )
    @hypothesis.given(reader.inputs)
    def one(content: Any) -> None:
        found.inputs += 1
        _watched(reader, found, content)

    one()


def _watched(reader: Reader, found: Found, content: Any) -> None:
    """Read an input, and raise what is amiss."""
    memory = _mebibytes()
    end, took = _timed(reader, content)
    if took > SECONDS:  # by itself, or as Python collected Hypothesis's garbage meanwhile
        end, took = _timed(reader, content)
    found.ends[end] += 1
    found.slowest = max(found.slowest, took)
    if took > SECONDS:
        raise TooSlow(f"{took:.1f} s of CPU time")
    if _mebibytes() - memory > MEBIBYTES:
        raise MemoryError(f"{_mebibytes() - memory:.0f} MiB")


def _timed(reader: Reader, content: Any) -> tuple[str, float]:
    """Read an input; return what came of it, and the CPU seconds."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * SECONDS)
    try:
        reader.read(content)
        end = "read"
    except reader.errors as error:
        end = type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return end, time.process_time() - began


def _stop(number: int, frame: Any) -> None:
    raise TooSlow(f"more than {2 * SECONDS} s of CPU time")


def _mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _note(error: Exception) -> str:
    return "\n".join(getattr(error, "__notes__", ()))[:2000]


def main() -> int:
    """Read the flags, fuzz, print; return the exit code."""
    from all_readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        reader = READERS[options.reader](Path(folder))
        before = _mebibytes()
        found = fuzz(reader, options.inputs, options.seed)
    ends = ", ".join(f"{count:,} {kind}" for kind, count in found.ends.most_common())
    print(f"{options.reader}: {found.inputs:,} inputs: {ends}")
    print(f"slowest {found.slowest:.2f} s, peak {_mebibytes():.0f} MiB ({before:.0f} at first)")
    for one in found.amiss:
        print(f"AMISS {one}")
    return 1 if found.amiss else 0


if __name__ == "__main__":
    tests = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(tests / "support"), str(tests.parent)]
    sys.exit(main())
