"""Arrays in files, each with a digest behind it: what is damaged counts as missing."""

import hashlib
from typing import Any

import numpy as np

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


def load(file: AnyPath) -> np.ndarray | None:
    """Return the array that `store` put there; None where the file is missing or damaged."""
    try:
        with file.open("rb") as content:
            array: np.ndarray = np.load(content, allow_pickle=False)
            whole = content.read() == _digest(file, array)
    except Exception:  # what a damaged header raises is anybody's guess
        return None
    return array if whole else None


def store(file: AnyPath, array: np.ndarray) -> None:
    """Write an array, and SHA-256 over its name, dtype, shape and numbers behind it.

    The file is a `.npy` that NumPy reads, too. It is not durable: what a power cut leaves does not
    fit its digest.

    Raises:
      OSError: it cannot be written.
    """

    def fill(content: Any) -> None:
        np.save(content, array, allow_pickle=False)
        content.write(_digest(file, array))

    paths.make_folder(file.parent)
    paths.write(file, fill, durable=False)


def _digest(file: AnyPath, array: np.ndarray) -> bytes:
    total = hashlib.sha256(f"{file.name} {array.dtype.str} {array.shape}\n".encode())
    total.update(np.ascontiguousarray(array).data)
    return total.digest()
