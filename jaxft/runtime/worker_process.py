"""First steps of a process that works for another one."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable

from jaxft.runtime import allocator


def obey(ignored: Iterable[int] = (signal.SIGINT,)) -> None:
    """End this process when its parent ends, for whatever reason, and ignore these signals.

    Ctrl-C goes to every process of a terminal, and the parent decides what follows. Such processes
    decode images, so the memory of one image is kept for the next.
    """
    allocator.keep_freed_images()
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
