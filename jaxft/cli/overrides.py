"""Overrides of a config's keys, `--config.KEY=VALUE`."""

import ast
import difflib
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_flags import config_path


def override(config: ConfigDict, item: str) -> str | None:
    """Apply one override; return the reason where it cannot be applied, else None."""
    key, equals, text = item.removeprefix("--config.").partition("=")
    try:
        before = config_path.get_value(key, config)
    except (KeyError, IndexError, AttributeError, ValueError, SyntaxError, TypeError):
        return f"config.{key}: no such key{_near(config, key)}"
    if isinstance(before, ConfigDict) or (isinstance(before, tuple) and key == "phases"):
        return f"config.{key}: a section; set one of its keys"
    kind = _kind(config, key, before)
    value = _parse(text if equals else "true", kind)
    if value is None:
        return f"config.{key}: {text!r} is not of type {kind.__name__}"
    try:
        config_path.set_value(key, config, value)
    except (TypeError, ValueError) as error:
        return f"config.{key}: {error}"
    return None


def _near(config: ConfigDict, key: str) -> str:
    """Suggest a key of the section where `key` should have been, or list its keys."""
    section, _, last = key.rpartition(".")
    try:
        holder = config_path.get_value(section, config) if section else config
    except (KeyError, IndexError, AttributeError, ValueError, SyntaxError, TypeError):
        return ""
    if not isinstance(holder, ConfigDict):
        return ""
    meant = difflib.get_close_matches(last, list(holder), n=1)
    return f"; did you mean {meant[0]}?" if meant else f"; known: {', '.join(holder)}"


def _kind(config: ConfigDict, key: str, before: Any) -> type:
    """Return the type that the key was declared with, not that of its present value.

    `object` stands for a number or a word, as in `lr` and `cycles`.
    """
    section, _, last = key.rpartition(".")
    holder = config_path.get_value(section, config) if section else config
    declared = isinstance(holder, ConfigDict) and last in holder
    return holder.get_type(last) if declared else type(before)


def _parse(text: str, kind: type) -> Any:
    """Return the text as a value of the key's type, or None where it is none."""
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if kind is object:
        return value if isinstance(value, int | float) else text
    if kind is str:
        return text
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple:
        return tuple(value) if isinstance(value, list | tuple) else None
    return value if isinstance(value, kind) else None
