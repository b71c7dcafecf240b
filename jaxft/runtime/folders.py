"""Folders that the system gives a program."""

import os
from pathlib import Path

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath


def default_directory() -> Path:
    """The user's cache directory (XDG_CACHE_HOME, or ~/.cache) + `jaxft`.

    Raises:
      UserError: there is neither.
    """
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "jaxft"
    home = paths.expanded("~")
    if not home.is_absolute():
        raise UserError(
            "There is no home directory to keep a cache in",
            hint="Set XDG_CACHE_HOME (or HOME), or give --config.cache_dir.",
        )
    return home / ".cache" / "jaxft"


def cache_directory(given: str) -> AnyPath:
    """Folder of features and compiled programs: `config.cache_dir`, or the user's cache for ""."""
    return paths.of(given) if given else default_directory()
