"""Folders that the system gives a program."""

import os
from pathlib import Path


def default_directory() -> Path:
    """The user's cache directory (XDG_CACHE_HOME, or ~/.cache) + `jaxft`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxft"
