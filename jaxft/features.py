"""The feature cache: the frozen body's output for every example, content-addressed on disk.

An entry's key covers everything that its numbers depend on: the body's weights, the preprocessing
and view, the ordered examples with their labels, the dtype. Change one and the entry is another.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft import checkpoint, hosts
from jaxft.data import Split

VERSION = 2  # of what the evaluation view computes; a change here makes all entries stale


def default_directory() -> Path:
    """The user's cache directory (XDG_CACHE_HOME, or ~/.cache) + `jaxft`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxft"


def key(split: Split, weights_digest: str, description: dict[str, Any]) -> str:
    """The name of a cache entry.

    Args:
      split: whose identity lines and labels count, in order.
      weights_digest: of the body's parameters and statistics, as from `weights_digest`.
      description: whatever else matters (model, preprocessing, image size, dtype); JSON data.
    """
    total = hashlib.sha256()
    total.update(json.dumps([VERSION, weights_digest, description], sort_keys=True).encode())
    for line, label in zip(split.identity, split.labels, strict=True):
        total.update(f"\n{label} {line}".encode(errors="surrogateescape"))
    return total.hexdigest()


def weights_digest(params: dict[str, Any], batch_stats: dict[str, Any]) -> str:
    """Digest of the body's groups; the head has no part in the features."""
    body = {
        kind: {group: tree[group] for group in tree if group != "head"}
        for kind, tree in (("params", params), ("batch_stats", batch_stats))
    }
    return checkpoint.digest(body)


def cached(
    directory: Path, name: str, compute: Callable[[], Float[np.ndarray, "examples features"]]
) -> tuple[Float[np.ndarray, "examples features"], bool]:
    """The entry `name`, computed and stored if it is not there or not whole.

    With several processes the first one's directory counts, and all get what it holds.

    An entry is an .npy file beside a .json file with its SHA-256; it is written aside and renamed,
    so that a reader never sees half of one. A directory that cannot be written costs the cache,
    not the run.

    Returns:
      (features, whether they came from the cache).
    """
    found = hosts.from_first(_load(directory, name) if hosts.is_first() else None)
    if found is not None:
        return found, True
    features = np.ascontiguousarray(compute())
    with suppress(OSError):
        _store(directory, name, features)
    return features, False


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.npy", directory / f"{name}.json"


def _load(directory: Path, name: str) -> np.ndarray | None:
    """The entry, if it is there and whole."""
    array_file, note_file = _files(directory, name)
    try:
        features = np.load(array_file, allow_pickle=False)
        whole = json.loads(note_file.read_text())["sha256"] == _sha256(features)
    except Exception:  # what a damaged header or note raises is anybody's guess
        return None
    return features if whole else None


@hosts.first_only
def _store(directory: Path, name: str, features: np.ndarray) -> None:
    array_file, note_file = _files(directory, name)
    directory.mkdir(parents=True, exist_ok=True)
    _replace(array_file, lambda file: np.save(file, features, allow_pickle=False))
    note = {"sha256": _sha256(features), "shape": features.shape}
    _replace(note_file, lambda file: file.write(json.dumps(note).encode()))


def _sha256(array: np.ndarray) -> str:
    """Of the dtype, the byte order in it, the shape and the numbers."""
    total = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _replace(path: Path, write: Callable[[Any], Any]) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            write(file)
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)
