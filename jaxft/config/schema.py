"""Keys and types of a config, as the dataclasses of its sections declare them."""

import dataclasses
import difflib
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from jaxft.config.phase_names import path_of
from jaxft.models.variables import GROUPS

LARGEST = 2**63 - 1  # integer of a config


def shape_errors(kind: Any, section: Any, path: str) -> Iterator[str]:
    """Yield a message for each unknown key, missing key and wrong type, at any depth."""
    if not isinstance(section, Mapping):
        yield f"{path} is {section!r}; it should be a section with keys of its own"
        return
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    for key in section:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield f"{path}.{key} is not a key; {meant}known: {', '.join(fields)}"
    for key, field_type in fields.items():
        if key not in section:
            yield f"{path}.{key} is missing"
        else:
            yield from _type_errors(field_type, section[key], f"{path}.{key}")


def _type_errors(wanted: Any, value: Any, path: str) -> Iterator[str]:
    if dataclasses.is_dataclass(wanted):
        yield from shape_errors(wanted, value, path)
    elif get_origin(wanted) is tuple:
        if not isinstance(value, list):
            yield f"{path} is {value!r}; it should be a tuple"
            return
        given = [item.get("name") if isinstance(item, Mapping) else None for item in value]
        for index, item in enumerate(value):
            yield from _type_errors(get_args(wanted)[0], item, path_of(path, given, index))
    elif get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            yield f"{path} is {value!r}; it should be one of: {', '.join(get_args(wanted))}"
    elif path.endswith(".groups"):
        yield from _group_errors(value, path)
    elif not _is_a(wanted, value):
        names = " or ".join(kind.__name__ for kind in _kinds(wanted))
        yield f"{path} is {value!r}; it should be of type {names}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; it should be a finite number"
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield f"{path} should be between -2**63 and 2**63"


def _kinds(wanted: Any) -> tuple[type, ...]:
    return get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def _is_a(wanted: Any, value: Any) -> bool:
    kinds = _kinds(wanted)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, kinds)


def _group_errors(groups: Any, path: str) -> Iterator[str]:
    if not isinstance(groups, Mapping):
        yield f"{path} is {groups!r}; it should map layer groups to multipliers"
        return
    for name, multiplier in groups.items():
        if name not in GROUPS:
            yield f"{path}.{name} is not a layer group; the layer groups are: {', '.join(GROUPS)}"
        elif isinstance(multiplier, bool) or not isinstance(multiplier, int | float):
            yield f"{path}.{name} is {multiplier!r}; it should be a number"
        elif not 0 <= multiplier < float("inf"):
            yield f"{path}.{name} is {multiplier}; it should be 0 (frozen) or more"
