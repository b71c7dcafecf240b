"""A config as a card: a Python file that sets what differs from configs/base.py."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxft.config.plain import as_dict
from jaxft.configs import base

WIDTH = 100  # columns


def source(plain: Mapping[str, Any], told: str) -> str:
    """Return the source of a config file.

    Args:
      plain: a config as plain data, with every key.
      told: a line about it, for the docstring.
    """
    lines = [
        f'"""{told}"""',
        *(
            "",
            "from ml_collections import ConfigDict",
            "",
            "from jaxft.configs import base",
            "",
            "",
        ),
        "def get_config() -> ConfigDict:",
        '    """All keys of this config that differ from the defaults."""',
        "    config = base.get_config()",
        *(f"    config.{line}" for line in _changes(plain, as_dict(base.get_config()))),
        "    config.phases = (",
        *(f"        {line}" for phase in plain["phases"] for line in _phase(phase)),
        "    )",
        "    return config",
    ]
    return "\n".join(lines) + "\n"


def _changes(plain: Mapping[str, Any], usual: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if path + key == "phases" or value == usual[key]:
            continue
        if isinstance(value, Mapping):
            yield from _changes(value, usual[key], f"{path}{key}.")
        else:
            yield f"{path}{key} = {_literal(value)}"


def _phase(phase: Mapping[str, Any]) -> list[str]:
    usual = as_dict(base.phase())
    given = {key: value for key, value in phase.items() if value != usual[key]}
    if "groups" in given:
        given["groups"] = {group: rate for group, rate in given["groups"].items() if rate}
    words = [f"{key}={_literal(value)}" for key, value in given.items()]
    line = f"base.phase({', '.join(words)}),"
    if len(line) <= WIDTH - 8:
        return [line]
    return ["base.phase(", *(f"    {word}," for word in words), "),"]


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(_literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    text = repr(value)
    plain = isinstance(value, str) and not any(c in text for c in '"\\')
    return f'"{value}"' if plain and text.startswith("'") else text
