"""Folders that the system gives a program."""

import os
from pathlib import Path

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


def default_directory() -> Path:
    """The user's cache directory (XDG_CACHE_HOME, or ~/.cache) + `jaxft`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxft"


def cache_directory(given: str) -> AnyPath:
    """Folder of features and compiled programs: `config.cache_dir`, or the user's cache for ""."""
    return paths.of(given) if given else default_directory()
