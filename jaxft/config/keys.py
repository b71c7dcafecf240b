"""Every key of a config, as configs/base.py declares and explains it."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxft.configs import base

PHASE = "phases.NAME"
WORDS = {"str": "word", "object": "number or word", "int": "whole number", "float": "number"}
WORDS |= {"bool": "true or false", "tuple": "tuple"}


class Key(NamedTuple):
    """A key: its path, the type of its values in words, its default, and what it does."""

    path: str
    kind: str
    default: Any
    told: str


def keys() -> list[Key]:
    """List every key in the order of configs/base.py; those of a phase are `phases.NAME.KEY`."""
    told = explained(inspect.getsource(base))
    order = list(told)
    config = base.get_config()
    del config.phases
    found = []
    for path, kind, default in (*_leaves(config), *_leaves(base.phase(), f"{PHASE}.")):
        place = path if path in told else path.rpartition(".")[0]  # `groups` explains each group
        key = Key(path, WORDS[kind.__name__], default, told[place])
        found.append((order.index(place), key))
    return [key for _, key in sorted(found, key=lambda pair: pair[0])]


def _leaves(section: ConfigDict, path: str = "") -> Iterator[tuple[str, type, Any]]:
    for key in section:
        if isinstance(section[key], ConfigDict):
            yield from _leaves(section[key], f"{path}{key}.")
        else:
            yield f"{path}{key}", section.get_type(key), section[key]


def values_of(config: ConfigDict) -> dict[str, Any]:
    """Path -> value of every key of a config, in order; phases are called by their names."""
    values = {path: value for path, _, value in _leaves(config)}
    order = [key.path for key in keys()]
    found = {path: values[path] for path in order if not path.startswith(PHASE)}
    for phase in config.phases:
        inside = {path: value for path, _, value in _leaves(phase)}
        paths = [path.removeprefix(f"{PHASE}.") for path in order if path.startswith(PHASE)]
        found |= {f"phases.{phase.name}.{path}": inside[path] for path in paths}
    return found


def explained(source: str) -> dict[str, str]:
    """Path of each key, by its line -> the comments on that line and right above it, as one text.

    Args:
      source: of configs/base.py; it sets keys as `config.KEY = ...`, and those of a phase in the
        dict that `phase` makes.
    """
    comments, alone = _comments(source)
    found = {}
    for line, path in sorted(_places(ast.parse(source))):
        above: list[str] = []
        while (before := line - len(above) - 1) in alone:
            above.append(comments[before])
        beside = comments.get(line, "")
        found[path] = "; ".join(text for text in (beside, " ".join(reversed(above))) if text)
    return found


def _comments(source: str) -> tuple[dict[int, str], set[int]]:
    """Comments by their lines, and the lines that hold nothing else."""
    comments, alone = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    return comments, alone


def _places(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and path of each key."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            path = ast.unparse(node.targets[0])
            if path.startswith("config."):
                yield node.lineno, path.removeprefix("config.")
        elif isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.lineno, f"{PHASE}.{key.value}"
