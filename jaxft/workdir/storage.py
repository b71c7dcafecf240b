"""Errors of a disk or a bucket, whichever library met them."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from jaxft.errors import UserError
from jaxft.runtime import paths

OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # in TensorStore's messages
EXHAUSTED = ("RESOURCE_EXHAUSTED", "No space left")
DISCONNECTED = "ClientConnectionError"  # of aiohttp, which gcsfs tries six times


@contextmanager
def told_as_os_error(place: paths.AnyPath) -> Iterator[None]:
    """Raise what a disk or a bucket did to a library as OSError, with the place.

    TensorStore raises ValueError, whose message holds the number of the operating system's error.

    Args:
      place: to be named where an error names no file.

    Raises:
      OSError: instead of the library's error.
      Other errors: they are not of a disk or a bucket.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = number_of(error)
        if not number:
            raise
        named = getattr(error, "filename", None) or str(place)
        raise OSError(number, _words(number, error), named) from None


def number_of(error: BaseException) -> int:
    """Return the operating system's number of an error; 0 where it is not of a disk or bucket."""
    if _is_disconnected(error):
        return errno.ECONNRESET
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if found := OS_ERROR.search(str(error)):
        return int(found[1])
    return errno.ENOSPC if any(word in str(error) for word in EXHAUSTED) else 0


def _is_disconnected(error: BaseException) -> bool:
    return any(kind.__name__ == DISCONNECTED for kind in type(error).__mro__)


def _words(number: int, error: BaseException) -> str:
    """Return the words for an error: a bucket's client knows more than the operating system."""
    if _is_disconnected(error):
        return f"no connection ({paths.type_and_words(error)})"
    return os.strerror(number)
