"""This process among those of a run: it joins them, speaks for them, and leaves them."""

import os
import sys


def join(mode: str) -> None:
    """Join the other processes, before JAX does anything else."""
    from jaxft.runtime import hosts, lost_host

    hosts.join(mode)
    if not hosts.alone():
        lost_host.watch()
    if not hosts.is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what libraries print, too


def joined() -> bool:
    """Tell whether this is one process of several."""
    hosts = sys.modules.get("jaxft.runtime.hosts")
    return hosts is not None and not hosts.alone()


def tell_once(message: str) -> None:
    """Print to stderr, from the first process alone, what all of them would say."""
    if not joined() or sys.modules["jaxft.runtime.hosts"].is_first():
        print(message, file=sys.stderr)


def leave(code: int) -> int:
    """Return the exit code; one process of several exits at once, so that the others notice.

    An orderly exit would wait for the others, which wait for this one.
    """
    if joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
