"""The folder that a model leaves in: filled aside, and moved into its place when all is proven."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


@contextmanager
def aside(output: str) -> Iterator[Path]:
    """A new folder on this machine, beside the output unless that is in a store.

    Its files become the output's when the block ends; where it raises they are deleted, and there
    is nothing at the output.
    """
    place = paths.of(output)
    remote = paths.is_remote(output)
    parent = None if remote else paths.absolute(place).parent
    filled = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=parent))
    try:
        yield filled
        if remote:
            _upload(filled, place)
        else:
            _move(filled, place)
    finally:
        shutil.rmtree(filled, ignore_errors=True)


def _move(filled: Path, place: AnyPath) -> None:
    filled.chmod(0o755)
    if place.exists():
        place.rmdir()  # which takes an empty one only
    os.rename(filled, place)


def _upload(filled: Path, place: AnyPath) -> None:
    for file in sorted(filled.rglob("*")):
        if file.is_file():
            with file.open("rb") as content:
                target = place / file.relative_to(filled).as_posix()
                paths.write(target, partial(shutil.copyfileobj, content))


def name(output: str) -> str:
    """Return the name of the folder that an output is."""
    return paths.absolute(paths.of(output)).name
