"""A config as plain data, and back."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxft.configs import base


def as_dict(config: Any) -> Any:
    """Return a config as plain dicts, lists and numbers, as `config.json` holds it."""
    if isinstance(config, ConfigDict):
        return {key: as_dict(config[key]) for key in config}
    if isinstance(config, Mapping):
        return {key: as_dict(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [as_dict(value) for value in config]
    return config


def as_config(plain: Mapping[str, Any]) -> ConfigDict:
    """Return plain data as a config; keys that they lack have their defaults.

    Raises:
      TypeError: a value is of another type than the key's.
    """
    config = base.get_config()
    _fill(config, {key: value for key, value in plain.items() if key != "phases"})
    config.phases = tuple(base.phase(**phase) for phase in plain["phases"])
    return config


def _fill(config: ConfigDict, plain: Mapping[str, Any]) -> None:
    for key, value in plain.items():
        if isinstance(config.get(key), ConfigDict):
            _fill(config[key], value)
        else:
            config[key] = value
