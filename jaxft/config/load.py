"""Reads a config once, checks all of it, and returns frozen dataclasses."""

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxft.augment.augment import PRESETS
from jaxft.config.resolve import expected
from jaxft.config.schema import shape_errors
from jaxft.config.settings import Settings
from jaxft.config.values import value_errors
from jaxft.errors import UserError
from jaxft.models.variables import GROUPS

SWEEPS = {"sgd": (1e-7, 10.0), "adamw": (1e-4, 0.1)}  # rates of a range test


def read(config: ConfigDict) -> Settings:
    """Check a config completely and freeze it.

    Raises:
      UserError: lists every unknown, missing, mistyped or senseless key.
    """
    return from_dict(as_dict(config))


def from_dict(plain: dict[str, Any]) -> Settings:
    """As `read`, of a config as plain data, such as `config.json` holds."""
    plain = _with_sweep(_with_preset(plain))
    errors = list(shape_errors(Settings, plain, "config"))
    # A value of the wrong type, reported already, may be none that a comparison takes.
    with suppress(KeyError, TypeError, AttributeError) if errors else nullcontext():
        errors += value_errors(plain)
    if errors:
        raise UserError("The config has mistakes:", errors, "configs/base.py explains every key.")
    settings: Settings = _freeze(Settings, plain)
    return settings.at_size(settings.data.image_size)


def resolved(config: Any) -> dict[str, Any]:
    """A config as plain data, with what depends on platform and weights settled; as `read`, else.

    Raises:
      UserError: also where the weights are asked for what they expect, and cannot be.
    """
    plain = as_dict(config)
    settings = from_dict(plain)
    plain["augment"] = dataclasses.asdict(settings.augment)
    plain["finder"].update(lo=settings.finder.lo, hi=settings.finder.hi)
    plain["model"]["dtype"] = settings.model.compute_dtype
    data = plain["data"]
    if data["image_size"] == 0 or data["interpolation"] == "auto":
        own = expected(settings)
        data["image_size"] = data["image_size"] or own.image_size
        if data["interpolation"] == "auto":
            data["interpolation"] = own.interpolation
    return plain


def _with_preset(plain: dict[str, Any]) -> dict[str, Any]:
    """The config with every key of `augment` that is None as the preset has it."""
    section = plain.get("augment")
    if not isinstance(section, Mapping):
        return plain
    # An unknown preset is reported as such; any known one keeps its Nones from being, too.
    preset = PRESETS.get(str(section.get("preset")), PRESETS["none"])
    filled = {k: getattr(preset, k, None) if v is None else v for k, v in section.items()}
    return {**plain, "augment": filled}


def _with_sweep(plain: dict[str, Any]) -> dict[str, Any]:
    """The config with the range test's ends by optimizer, where `finder.lo` or `hi` is None."""
    finder, optimizer = plain.get("finder"), plain.get("optimizer")
    if not isinstance(finder, Mapping) or not isinstance(optimizer, Mapping):
        return plain
    # An unknown optimizer is reported as such; any ends will do.
    ends = dict(
        zip(("lo", "hi"), SWEEPS.get(str(optimizer.get("name")), (1e-30, 1e30)), strict=True)
    )
    finder = {key: ends.get(key) if value is None else value for key, value in finder.items()}
    return {**plain, "finder": finder}


def as_dict(config: Any) -> Any:
    """A config as plain dicts, lists and numbers, as `config.json` holds it."""
    if isinstance(config, ConfigDict):
        return {key: as_dict(config[key]) for key in config}
    if isinstance(config, Mapping):
        return {key: as_dict(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [as_dict(value) for value in config]
    return config


def _freeze(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        return kind(**{f.name: _freeze(f.type, value[f.name]) for f in fields})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        return tuple(_freeze(get_args(kind)[0], item) for item in value)
    if isinstance(value, Mapping):
        return {group: float(value[group]) for group in GROUPS if value.get(group, 0) > 0}
    return float(value) if kind is float else value
