"""Starts of `jaxft` as forks of one process that has imported everything: half a second each.

JAX's backends are not there before the fork, so a child is as good as a process of its own.
"""

import faulthandler
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import tiny_body
from jax._src import xla_bridge
from same_end import assert_same_end

import jaxft.run  # noqa: F401 - for the forks
from jaxft.cli import main
from jaxft.evaluation import baselines, evaluate, predict  # noqa: F401
from jaxft.features import cache
from jaxft.report.page import page  # noqa: F401
from jaxft.runtime import noise

ONE_DEVICE = "--xla_force_host_platform_device_count=1"


class Start(NamedTuple):
    """A child: its number, and the files that it prints to."""

    pid: int
    out: Path
    err: Path
    stack: Path

    def wait(self) -> int:
        """Wait for its end; return the exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self) -> int | None:
        """Return the exit code if it has ended; None otherwise."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> int:
        """Kill it; return the exit code that it had before, or minus the signal."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


def prepare() -> None:
    """Register the tiny body and shorten what a run of it takes, before the first start."""
    noise.hush()
    os.environ["XLA_FLAGS"] = ONE_DEVICE
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    tiny_body.register()
    baselines.LARGEST = 0  # no simple classifiers
    cache.PART_EXAMPLES = 8
    warnings.filterwarnings("ignore", message=".*fork.*", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)


def begin(
    words: list[str],
    place: Path,
    caches: Path,
    first: Callable[[], object] = lambda: None,
    last: Callable[[], object] = lambda: None,
) -> Start:
    """Begin `jaxft WORDS` in a fork.

    Args:
      words: of the command line.
      place: an existing folder that the files of what it prints lie in.
      caches: XDG_CACHE_HOME.
      first, last: called in the child, before jaxft and after it.
    """
    start = Start(0, place / "out.txt", place / "err.txt", place / "stack.txt")

    def told() -> int:
        for number, file in ((1, start.out), (2, start.err)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ["XDG_CACHE_HOME"] = str(caches)
        with open(start.stack, "w") as stack:
            faulthandler.register(signal.SIGUSR1, file=stack, all_threads=True)
            first()
            code = main.main(words)
            last()
            return code

    return start._replace(pid=fork(told))


def fork(function: Callable[[], int]) -> int:
    """Call a function in a fork, which ends with what it returns; return the fork's number."""
    assert not xla_bridge._backends, "JAX's backends are there before the fork"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = function()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def same_end(workdir: Path, untouched: Path) -> bool:
    """Compare two finished runs in a fork, for it needs JAX; the fork tells what differs."""

    def compare() -> int:
        assert_same_end(workdir, untouched)
        return 0

    return os.waitpid(fork(compare), 0)[1] == 0


def run(words: list[str], place: Path, caches: Path) -> tuple[int, str, str]:
    """Run `jaxft WORDS` to its end; return the exit code, and what it printed."""
    start = begin(words, place, caches)
    code = start.wait()
    return code, start.out.read_text(), start.err.read_text()
