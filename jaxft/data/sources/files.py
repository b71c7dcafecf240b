"""Image files: a split of them, and those below the paths that a user gives."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from jaxft.data import Split
from jaxft.data.images import heif
from jaxft.data.images.file import decode
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.sources import bucket
from jaxft.data.sources.left_out import suffix_of
from jaxft.data.sources.tree import is_image_path, open_tree
from jaxft.errors import UserError
from jaxft.runtime import paths


def files_split(
    files: Sequence[str],
    labels: Sequence[int] | None = None,
    identity: Mapping[str, str] | None = None,
) -> Split:
    """A split over image files, in the order given; without labels they are all 0.

    `identity`: content identities that are known already; the other files are looked at.
    """
    known = dict(identity or {})
    unknown = [file for file in files if paths.is_remote(file) and file not in known]
    known |= bucket.beside(unknown)
    given = np.zeros(len(files)) if labels is None else labels
    return Split(
        tuple(files),
        np.asarray(given, np.int32),
        tuple(known.get(file) or _identity(file) for file in files),
        partial(_read_file, tuple(files)),
    )


def image_files(given: Sequence[str], warn: Callable[[str], None] = lambda told: None) -> list[str]:
    """Files as given, folders replaced by all image files below them, sorted; for prediction.

    Args:
      given: paths of files and folders.
      warn: called with a line about images below a folder for which a decoder is missing.

    Raises:
      UserError: listing every path that does not exist and every folder without an image.
    """
    files, wrong = [], []
    for path in map(os.path.expanduser, given):
        place, lacking = paths.of(path), ""
        found = [path] * place.exists()
        if place.is_dir():
            every = list(open_tree(path).files())
            found = list(filter(is_image_path, every))
            lacking = heif.in_words(Counter(map(suffix_of, every)))
        files.extend(found)
        if not found:
            why = "no image in it" if place.is_dir() else "not found"
            wrong.append(f"{path}: {why}; {lacking}" if lacking else f"{path}: {why}")
        elif lacking:
            warn(f"left out in {path}: {lacking}")
    if wrong:
        raise UserError("images to read:", wrong)
    return files


def _identity(file: str) -> str:
    """Path, size and time of change: a cache takes files that agree in these for the same."""
    if paths.is_remote(file):
        return f"{file}:missing"
    path = os.path.abspath(file)
    try:
        stat = os.stat(path)
    except OSError:
        return f"{path}:missing"
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


def _read_file(
    files: tuple[str, ...], index: int, sizing: Sizing = OWN_SIZE, share: float | None = None
) -> np.ndarray:
    return decode(files[index], sizing, share)
