"""The config of a run as a card would have made it, to change and train with again."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxft.configs import base


def as_config(plain: Mapping[str, Any]) -> ConfigDict:
    """Return plain data, such as `config.json` holds, as a config whose keys have base.py's types.

    Args:
      plain: a config that `load` has found right.
    """
    config = base.get_config()
    _fill(config, {key: value for key, value in plain.items() if key != "phases"})
    config.phases = tuple(base.phase(**phase) for phase in plain["phases"])
    return config


def _fill(section: ConfigDict, plain: Mapping[str, Any]) -> None:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            _fill(section[key], value)
        else:
            section[key] = tuple(value) if isinstance(value, list) else value
