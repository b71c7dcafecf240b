"""The end of this process, in a line, where another one of the run has died.

JAX ends every process of a run once one of them is gone: an exchange of data fails, or the
coordination service aborts the process from C++, with pages about itself. Neither is a bug of
anyone's, and the same command resumes. So the C++ part's words pass through a pipe, in which those
of the service are dropped, and a handler of SIGABRT ends the process as one that was interrupted.
"""

import atexit
import ctypes
import io
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 75
SECONDS = 30  # without a sign of life, after which a process counts as dead
TOLD = "jaxft: another process of this run has ended; the same command in all of them resumes"

# Words of the service, and of exchanges whose other end is gone (Gloo on CPU, NCCL on GPU).
SERVICE = re.compile(
    rb"coordination[_ ]service|JAX distributed service|CoordinationService|WatchTasks|PollForError"
)
GONE = re.compile(
    r"coordination|Gloo|NCCL|Connection (closed|reset|refused)|Socket closed|Broken pipe"
    r"|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED",
    re.IGNORECASE,
)


class _Errors:
    """The stream of errors, behind a pipe that C++ writes to.

    Python's own `sys.stderr` goes straight to where it went before.
    """

    def __init__(self) -> None:
        self._before = os.dup(2)
        self._lost = False  # the service has said so
        self._buffer = b""
        self._reading = threading.Lock()
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.dup2(writer, 2)
        os.close(writer)
        sys.stderr = io.TextIOWrapper(
            os.fdopen(self._before, "wb", 0, closefd=False),
            errors="backslashreplace",
            write_through=True,
        )
        threading.Thread(target=self._forward, daemon=True).start()

    def restore(self) -> None:
        """Let C++ write to the stream again, after all that it has written."""
        os.dup2(self._before, 2)
        self._drain()

    def _forward(self) -> None:
        readable = select.poll()
        readable.register(self._reader, select.POLLIN)
        while self._pass_on():
            readable.poll()

    def _pass_on(self) -> bool:
        """Pass on what the pipe holds; False at its end."""
        # Read and written under one lock: at an abort, the other thread holds no words back.
        with self._reading, suppress(BlockingIOError):
            while content := os.read(self._reader, 2**16):
                self._take(content)
            return False
        return True

    def _drain(self) -> None:
        """Pass on what the pipe holds, and a line that is not ended."""
        self._pass_on()
        with self._reading:
            if self._buffer:
                self._take(b"\n")

    def _take(self, content: bytes) -> None:
        """Pass whole lines on, but those of the service and what belongs to them."""
        *lines, self._buffer = (self._buffer + content).split(b"\n")
        for line in lines:
            self._lost = self._lost or SERVICE.search(line) is not None
            if not self._lost:
                with suppress(OSError):
                    os.write(self._before, line + b"\n")

    def aborting(self, number: int) -> None:
        """End the process that aborts: as one that was interrupted if the service did it."""
        self._drain()
        if self._lost:
            end()
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def watch() -> None:
    """From now on, end this process in a line where another has died; once, after joining."""
    errors = _Errors()
    atexit.register(errors.restore)
    # Python's handlers run between two steps of Python: an abort never comes to one.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(errors.aborting)
    _kept.append(handler)
    c = ctypes.CDLL(None)
    c.signal.argtypes = (ctypes.c_int, ctypes.CFUNCTYPE(None, ctypes.c_int))
    c.signal.restype = ctypes.c_void_p
    c.signal(signal.SIGABRT, handler)


_kept: list[object] = []  # C holds no reference


def is_sign(error: BaseException) -> bool:
    """Tell if an error of a joined process says that another one is gone."""
    words = f"{type(error).__name__}: {error}"
    from_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return bool(_kept) and from_jax and GONE.search(words) is not None


@contextmanager
def noticed() -> Iterator[None]:
    """End the process at once where this block fails since another process is gone.

    What would be done on the way out waits for that process. All records say "interrupted" already.
    """
    try:
        yield
    except Exception as error:
        if is_sign(error):
            end()
        raise


def end() -> None:
    """Say that another process has ended, and end this one."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.write(f"{TOLD}\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
