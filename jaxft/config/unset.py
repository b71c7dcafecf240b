"""Keys that a config leaves open (None), filled in by what other keys say."""

from collections.abc import Mapping
from typing import Any

from jaxft.augment.presets import PRESETS, beneath_policy
from jaxft.recipe.finder.settings import SWEEPS


def filled(plain: dict[str, Any]) -> dict[str, Any]:
    """Fill in `augment` by its preset, and the ends of the range test by the optimizer."""
    return _with_sweep(_with_preset(plain))


def _with_preset(plain: dict[str, Any]) -> dict[str, Any]:
    section = plain.get("augment")
    if not isinstance(section, Mapping):
        return plain
    # An unknown preset is reported as such; the values of any known one save it further reports.
    preset = PRESETS.get(str(section.get("preset")), PRESETS["none"])
    if section.get("policy") != "none":
        preset = beneath_policy(preset)
    augment = {k: getattr(preset, k, None) if v is None else v for k, v in section.items()}
    return {**plain, "augment": augment}


def _with_sweep(plain: dict[str, Any]) -> dict[str, Any]:
    finder, optimizer = plain.get("finder"), plain.get("optimizer")
    if not isinstance(finder, Mapping) or not isinstance(optimizer, Mapping):
        return plain
    # An unknown optimizer is reported as such; any ends will do.
    lo, hi = SWEEPS.get(str(optimizer.get("name")), (1e-30, 1e30))
    ends = {"lo": lo, "hi": hi}
    finder = {key: ends.get(key) if value is None else value for key, value in finder.items()}
    return {**plain, "finder": finder}
