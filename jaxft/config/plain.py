"""A config as plain data."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def as_dict(config: Any) -> Any:
    """Return a config as plain dicts, lists and numbers, as `config.json` holds it."""
    if isinstance(config, ConfigDict):
        return {key: as_dict(config[key]) for key in config}
    if isinstance(config, Mapping):
        return {key: as_dict(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [as_dict(value) for value in config]
    return config
