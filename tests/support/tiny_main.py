"""`jaxft` with the tiny body, told to kill itself at a place: `tiny_main.py PLACE VERB ...`.

Places, each a real SIGKILL or SIGTERM of this process:
    none              nowhere
    step:PHASE:N      after step N of phase PHASE, counted from 0 in the phase
    part:N            when part N of the cached features, 8 examples each, is stored
    find:N            at loss N of a range test
    row:N             when row N of metrics.jsonl is written, its checkpoint not yet
    save:N            while checkpoint N is being written in the background
    committing:N      in the middle of checkpoint N's renaming into place
    ended:N           when checkpoint N is whole, and nothing has followed
A place that begins with `term-` gets SIGTERM, one with `twice-` gets it twice. TINY_LEASE_SECONDS
shortens the lease of a workdir in a bucket. With TINY_PRETRAINED the random weights pass for
pretrained ones.
"""

import os
import signal
import sys

import tiny_body

from jaxft.cli import main
from jaxft.evaluation import baselines
from jaxft.features import cache
from jaxft.recipe.finder import sweep
from jaxft.training import fit, loop, step_losses
from jaxft.workdir import lease, saving


def arm(place: str) -> None:
    """Let this process end at `place`."""
    *how, rest = place.split("-", 1)
    number = signal.SIGTERM if how else signal.SIGKILL
    kind, *where = rest.split(":")

    def end() -> None:
        for _ in range(2 if how == ["twice"] else 1):
            os.kill(os.getpid(), number)

    if kind == "step":
        at_step(where[0], int(where[1]), end)
    elif kind == "part":
        after(cache, "_store", int(where[0]), end)
    elif kind == "find":
        before(sweep, "stop_at", int(where[0]), end)
    elif kind == "row":
        after(loop, "append_row", int(where[0]), end)
    elif kind == "save":
        after(saving.Checkpoints, "save", int(where[0]), end)
    elif kind == "committing":
        at_rename(int(where[0]), end)
    elif kind == "ended":
        at_wait(int(where[0]), end)


def at_step(phase, wanted, end):
    """After a step's loss has been fetched."""
    names = []
    run_phase, demand = fit.run_phase, step_losses.demand_finite

    def entering(materials, cursor, *rest):
        names.append(materials.settings.phases[cursor.phase_index].name)
        return run_phase(materials, cursor, *rest)

    def counting(number, loss):
        demand(number, loss)
        if (names[-1], number) == (phase, wanted):
            end()

    fit.run_phase, step_losses.demand_finite = entering, counting


def before(owner, name, count, end):
    """At the start of call `count` (from 1) of a function."""
    original, calls = getattr(owner, name), []

    def counting(*arguments):
        calls.append(1)
        if len(calls) == count:
            end()
        return original(*arguments)

    setattr(owner, name, counting)


def after(owner, name, count, end):
    """At the end of call `count` (from 1) of a function."""
    original, calls = getattr(owner, name), []

    def counting(*arguments):
        result = original(*arguments)
        calls.append(1)
        if len(calls) == count:
            end()
        return result

    setattr(owner, name, counting)


def at_rename(count, end):
    """Call `end` when Orbax gives the directory of checkpoint `count` its name."""

    def hook(event, arguments):
        if event == "os.rename" and str(arguments[1]).endswith(f"checkpoints/{count}"):
            end()

    sys.addaudithook(hook)


def at_wait(count, end):
    """Call `end` when a save has been waited for."""
    save = saving.Checkpoints.save
    calls = []

    def waiting(self, *arguments):
        save(self, *arguments)
        calls.append(1)
        if len(calls) == count:
            self.wait()
            end()

    setattr(saving.Checkpoints, "save", waiting)  # noqa: B010 - mypy lets no method be set


if __name__ == "__main__":
    tiny_body.register()
    baselines.LARGEST = 0  # no simple classifiers
    cache.PART_EXAMPLES = 8
    lease.SECONDS = float(os.environ.get("TINY_LEASE_SECONDS", lease.SECONDS))
    if "TINY_PRETRAINED" in os.environ:
        tiny_body.as_if_pretrained()
    arm(sys.argv[1])
    del sys.argv[1]
    main.entry()
