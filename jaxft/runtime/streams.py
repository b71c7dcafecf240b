"""Streams whose reader has gone, as after `| head`."""

import io
import os
from contextlib import suppress
from typing import TextIO


def drop(stream: TextIO | io.TextIOBase) -> None:
    """Drop what is and will be written to a stream, and to stdout and stderr if they go there."""
    nowhere, number = os.open(os.devnull, os.O_WRONLY), stream.fileno()
    for other in (1, 2):
        with suppress(OSError):  # it may be closed
            if other != number and os.path.sameopenfile(other, number):
                os.dup2(nowhere, other)
    os.dup2(nowhere, number)
    os.close(nowhere)
