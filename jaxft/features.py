"""The feature cache: the frozen body's output for every example, content-addressed on disk.

An entry's key covers everything that its numbers depend on: the body's weights, the preprocessing
and view, the ordered examples with their labels, the dtype. Change one and the entry is another.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft import checkpoint, hosts, paths
from jaxft.data import Split
from jaxft.paths import AnyPath

VERSION = 3  # of what the evaluation view computes; a change here makes all entries stale


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
    directory: AnyPath, name: str, compute: Callable[[], Float[np.ndarray, "examples features"]]
) -> tuple[Float[np.ndarray, "examples features"], bool]:
    """The entry `name`, computed and stored if it is not there or not whole.

    With several processes the first one's directory counts, and all get what it holds.

    An entry is an .npy file beside a .json file with its SHA-256; a reader never sees half of one.
    A directory that cannot be written costs the cache, not the run.

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


def _files(directory: AnyPath, name: str) -> tuple[AnyPath, AnyPath]:
    return directory / f"{name}.npy", directory / f"{name}.json"


def _load(directory: AnyPath, name: str) -> np.ndarray | None:
    """The entry, if it is there and whole."""
    array_file, note_file = _files(directory, name)
    try:
        with array_file.open("rb") as file:
            features = np.load(file, allow_pickle=False)
        whole = json.loads(paths.read(note_file))["sha256"] == _sha256(features)
    except Exception:  # what a damaged header or note raises is anybody's guess
        return None
    return features if whole else None


@hosts.first_only
def _store(directory: AnyPath, name: str, features: np.ndarray) -> None:
    array_file, note_file = _files(directory, name)
    paths.make_folder(directory)
    # Not durable: what a power cut leaves does not fit its digest, and is computed again.
    paths.write(array_file, lambda file: np.save(file, features, allow_pickle=False), durable=False)
    note = json.dumps({"sha256": _sha256(features), "shape": features.shape})
    paths.write(note_file, lambda file: file.write(note.encode()), durable=False)


def _sha256(array: np.ndarray) -> str:
    """Of the dtype, the byte order in it, the shape and the numbers."""
    total = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
