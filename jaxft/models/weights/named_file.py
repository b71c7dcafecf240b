"""A file of weights as a config names it: `file:PATH`, or `file:PATH#ENTRY`."""

from typing import NamedTuple

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

SIGN = "#"


class NamedFile(NamedTuple):
    """A file, and the state dict to take of the several that it holds; "" for its only one."""

    path: AnyPath
    entry: str


def named(source: str) -> NamedFile:
    """Read `file:PATH` or `file:PATH#ENTRY`; a file with the sign in its own name is found first.

    Raises:
      UserError: as `paths.of`.
    """
    text = source.removeprefix("file:")
    whole = paths.of(text)
    before, sign, entry = text.rpartition(SIGN)
    if not sign or not before or whole.exists() or not paths.of(before).exists():
        return NamedFile(whole, "")
    return NamedFile(paths.of(before), entry)
