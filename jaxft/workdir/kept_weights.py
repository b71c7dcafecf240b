"""Weights kept beside a run's checkpoints: one NumPy archive for each end of a cycle.

A file holds every array of the weights by its path, and under ABOUT, as JSON, the end that they
are of and a digest of the arrays. It is written in one piece, and shows when it is damaged.
"""

import io
import json
from typing import NamedTuple

import numpy as np

from jaxft.models.variables import Weights
from jaxft.runtime import hosts, paths
from jaxft.runtime.digests import digest, flat
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.checkpoint import fill

FOLDER = "cycles"  # in a workdir
RAW = "raw"  # the name of the newest end's weights without their moving average
ABOUT = "about"


class End(NamedTuple):
    """The end of a cycle, by its phase and its last epoch, counted from 0."""

    phase: str
    epoch: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.phase}-{self.epoch}"


def place(workdir: AnyPath, name: str) -> AnyPath:
    """Return the file of a name in a workdir."""
    return workdir / FOLDER / f"{name}.npz"


@hosts.first_only
def write(path: AnyPath, end: End, weights: Weights) -> None:
    """Write an end's weights, which are on the host; the same weights give the same bytes.

    Raises:
      OSError: the file cannot be written.
    """
    leaves = flat(weights)
    about = json.dumps({**end._asdict(), "digest": digest(leaves)})
    arrays = {ABOUT: np.frombuffer(about.encode(), np.uint8), **leaves}
    paths.make_folder(path.parent)
    paths.write(path, lambda file: np.savez(file, **arrays))


def read(path: AnyPath, end: End, like: Weights) -> Weights:
    """Read the weights of an end, as NumPy arrays in the structure of `like`.

    Raises:
      ValueError: the file is missing, damaged or of another end or network; says which.
    """
    try:
        with np.load(io.BytesIO(paths.read(path)), allow_pickle=False) as file:
            leaves = {name: file[name] for name in file.files}
        about = json.loads(leaves.pop(ABOUT).tobytes())
        found, told = End(about["phase"], about["epoch"]), about["digest"]
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except Exception as error:  # whatever a damaged archive makes zipfile and NumPy raise
        raise ValueError(f"{path} is damaged: {_in_a_line(error)}") from error
    if told != digest(leaves):
        raise ValueError(f"{path} is damaged: its digest does not match its contents")
    if found != end:
        raise ValueError(f"{path} is of {found.phase}, epoch {found.epoch}")
    try:
        weights: Weights = fill(like, leaves)
    except ValueError as error:
        raise ValueError(f"{path} is of another network: {error}") from error
    return weights


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@hosts.first_only
def remove(path: AnyPath) -> None:
    """Remove a file of this kind, if it is there."""
    path.unlink(missing_ok=True)
