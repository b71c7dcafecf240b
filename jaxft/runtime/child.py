"""What a process that works for another one does first."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable

from jaxft.runtime import allocator


def obey(ignored: Iterable[int] = (signal.SIGINT,)) -> None:
    """Ends this process with its parent, whatever becomes of that one, and ignores these signals.

    Ctrl-C goes to every process of a terminal, and what follows from it is the parent's to say.
    Such processes decode images, so the memory of one is kept for the next.
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
