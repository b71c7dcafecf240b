"""Listings of a bucket's objects: a request lists a thousand, and a look at each would take one."""

import os
from collections.abc import Iterable
from typing import Any

from jaxft.runtime import paths


def below(folder: str) -> dict[str, str]:
    """Every object below a folder -> its content identity, in the order of their parts.

    Args:
      folder: gs://BUCKET/FOLDER.
    """
    return _described(paths.filesystem().find(folder, detail=True).values())


def beside(files: Iterable[str]) -> dict[str, str]:
    """Content identity of every object that is there, of `files` and of those beside them.

    One listing for every folder among them, so that a million files in a hundred folders cost a
    thousand requests.
    """
    found: dict[str, str] = {}
    for folder in sorted({os.path.dirname(file) for file in files}):
        try:
            found |= _described(paths.filesystem().ls(folder, detail=True))
        except FileNotFoundError:
            continue
    return found


def _described(entries: Iterable[Any]) -> dict[str, str]:
    """Name, size and generation by name; the store gives every write a generation of its own."""
    objects = [entry for entry in entries if entry["type"] == "file"]
    names = {paths.REMOTE + entry["name"]: entry for entry in objects}
    return {
        name: f"{name}:{names[name]['size']}:{names[name]['generation']}"
        for name in sorted(names, key=lambda name: name.split("/"))
    }
