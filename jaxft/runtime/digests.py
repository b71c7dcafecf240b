"""Digests of JSON data, and of trees of arrays by their names, shapes, dtypes and numbers."""

import hashlib
import json
from typing import Any

import jax
import numpy as np


def digest(tree: Any) -> str:
    """Return SHA-256 over the paths, shapes, dtypes and bytes of a tree's leaves, in path order."""
    total = hashlib.sha256()
    for name, leaf in sorted(flat(tree).items()):
        array = np.ascontiguousarray(leaf)
        total.update(f"{name} {array.shape} {array.dtype}\n".encode())
        total.update(
            array.reshape(-1).view(np.uint8).data
        )  # not all dtypes have a buffer of their own
    return total.hexdigest()


def of_json(data: Any) -> str:
    """Return SHA-256 over JSON data, whatever the order of their keys."""
    plain = json.loads(json.dumps(data))  # keys that are numbers become text, as in a file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def flat(tree: Any) -> dict[str, Any]:
    """Return path -> leaf, with paths such as `inner_states.head.0.trace`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
