"""Config files: found by path or by name, executed, overridden."""

import difflib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxft.cli.overrides import override
from jaxft.errors import UserError


def load_config(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Return what a config file's `get_config()` gives, with `--config.KEY=VALUE` applied.

    Args:
      name: a path, or the name of a config that comes with jaxft; an argument after a colon.
      overrides: each `--config.path.to.key=value`, or `--config.path.to.key` for true.

    Raises:
      UserError: the file is missing or fails, or overrides cannot be applied; lists all of these.
    """
    path, _, argument = name.partition(":")
    module = _load(_find_config(path))
    try:
        config = module.get_config(argument) if argument else module.get_config()
    except Exception as error:
        raise UserError(f"{path}: get_config fails: {type(error).__name__}: {error}") from error
    return overridden(config, overrides)


def overridden(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """Apply `--config.KEY=VALUE`s to a config, and return it.

    Raises:
      UserError: listing all that cannot be applied.
    """
    problems = [problem for item in overrides if (problem := override(config, item))]
    if problems:
        raise UserError(
            "These keys of the config cannot be set:",
            problems,
            "`jaxft keys` lists and explains every key.",
        )
    return config


def shipped() -> dict[str, Path]:
    """Name -> file of the cards that come with jaxft."""
    spec = importlib.util.find_spec("jaxft.configs")
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(next(iter(folders))).glob("*.py")) if folders else []
    return {file.stem: file for file in files if file.stem not in ("__init__", "base")}


def _find_config(name: str) -> Path:
    """Return the file of this path, or the config of this name that comes with jaxft."""
    given, cards = Path(os.path.expanduser(name)), shipped()
    if given.is_file() and given.suffix == ".py":
        return given
    stem = given.stem
    if name in (stem, f"{stem}.py", f"configs/{stem}.py") and stem in cards:
        return cards[stem]
    if given.is_file():
        raise UserError(f"{name} is not a config: its name should end in .py")
    near = difflib.get_close_matches(stem, cards, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    raise UserError(f"No config {name}", hint=f"{meant}Give a file, or one of: {', '.join(cards)}.")


def _load(path: Path) -> Any:
    """Execute a config file as a module."""
    spec = importlib.util.spec_from_file_location(f"jaxft_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.get_config  # noqa: B018
    except Exception as error:
        raise UserError(f"{path} is not a config: {type(error).__name__}: {error}") from error
    return module
