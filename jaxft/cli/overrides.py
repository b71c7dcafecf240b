"""Overrides of a config's keys, `--config.KEY=VALUE`."""

import ast
import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_flags import config_path

from jaxft.configs import base

PREFIX = "--config."
PHASES = "phases"
TRUTHS = {"true": True, "1": True, "false": False, "0": False}
ERRORS = (KeyError, IndexError, AttributeError, ValueError, SyntaxError, TypeError)


def override(config: ConfigDict, item: str) -> str | None:
    """Apply one override; return the reason where it cannot be applied, else None."""
    typed, equals, text = item.removeprefix(PREFIX).partition("=")
    key, problem = numbered(config, typed)
    if problem:
        return f"config.{typed}: {problem}"
    try:
        before = config_path.get_value(key, config)
    except ERRORS:
        return f"config.{typed}: no such key{_near(config, key)}"
    if isinstance(before, ConfigDict) or (isinstance(before, tuple) and key == PHASES):
        return f"config.{typed}: {_of_section(typed, before)}"
    kind = _kind(config, key, before)
    if not equals and kind is not bool:
        return f"config.{typed}: has no value; write --config.{typed}=VALUE"
    value = _parse(text if equals else "true", kind)
    if value is None:
        return f"config.{typed}: {text!r} is not of type {kind.__name__}"
    try:
        config_path.set_value(key, config, value)
    except (TypeError, ValueError) as error:
        return f"config.{typed}: {error}"
    return None


def names_of(config: ConfigDict) -> list[str]:
    """Names of a config's phases, as far as it has any."""
    phases = config.get(PHASES, ()) if isinstance(config, Mapping | ConfigDict) else ()
    if not isinstance(phases, tuple | list):
        return []
    return [str(phase.get("name", "")) for phase in phases if hasattr(phase, "get")]


def numbered(config: ConfigDict, key: str) -> tuple[str, str]:
    """Write a key of a phase with the phase's number in place of its name.

    Returns:
      The key as config_path has it, `phases[2].lr` for `phases.full.lr`; and what is wrong with the
      phase, "" if nothing is.
    """
    found = re.fullmatch(rf"{PHASES}(?:\.([^.\[\]]+)|\[(-?\w*)\])(.*)", key)
    if not found:
        return key, ""
    name, number, rest = found.groups()
    names = names_of(config)
    told = ", ".join(names)
    if name is None:
        if number.isdecimal() and int(number) < len(names):
            return key, ""
        return key, f"no such phase; there are {len(names)}: {told}"
    if name in names:
        return f"{PHASES}[{names.index(name)}]{rest}", ""
    if name.isdecimal() and int(name) < len(names):
        return f"{PHASES}[{name}]{rest}", ""
    if name in base.phase() and not rest:
        keys = " or ".join(f"{PHASES}.{one}.{name}" for one in names)
        return key, f"a key of a phase; did you mean {keys}?"
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return key, f"no phase {name}; {meant}The phases are: {told}"


def _of_section(key: str, section: Any) -> str:
    """Tell that a key is a section, and which keys it has."""
    if isinstance(section, tuple):
        return (
            f"a list of phases; set a key of one, such as {PHASES}.full.lr, or drop and add phases "
            "in a config file of your own"
        )
    shown = ", ".join(f"{key}.{name}" for name in list(section)[:3])
    return f"a section; set one of its keys: {shown}{', ...' if len(section) > 3 else ''}"


def takes_no_value(word: str, following: str) -> bool:
    """Tell whether `--config.KEY` is a switch, and the word after it something else."""
    key = re.sub(rf"^{PHASES}(\.[^.]+|\[\d+\])", f"{PHASES}[0]", word.removeprefix(PREFIX))
    try:
        kind = _kind(base.get_config(), key, None)
    except ERRORS:
        return False
    return kind is bool and following.lower() not in TRUTHS


def _near(config: ConfigDict, key: str) -> str:
    """Suggest a key of the section where `key` should have been, or list its keys."""
    section, _, last = key.rpartition(".")
    try:
        holder = config_path.get_value(section, config) if section else config
    except ERRORS:
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
        return TRUTHS.get(text.lower())
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = text
    if kind is object:
        return value if isinstance(value, int | float) else text
    if kind is str:
        return text
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
        return None
    if kind is tuple:
        return tuple(value) if isinstance(value, list | tuple) else None
    return value if isinstance(value, kind) else None
