"""The state dict in a pickle's value, and its tensors as arrays."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.models.weights.torch_file.tensors import Global, Opaque, Tensor

DEPTH = 2  # of a state dict in a checkpoint; an optimizer's tensors lie deeper
LISTED = 20  # entries of a checkpoint that a message names

Path: TypeAlias = tuple[str, ...]


def tensors_in(value: Any, entry: str = "") -> dict[str, Tensor]:
    """Find the state dict in a saved value: the value, or the one entry that is a dict of tensors.

    Args:
      value: a pickle's.
      entry: the name of the entry, as the message of several lists them; "" for the only one.

    Raises:
      MalformedFile: there is none, or several; lists them, or what there is instead.
    """
    found = _state_dicts(value)
    if entry:
        chosen = [tensors for path, tensors in found.items() if "/".join(path) == entry]
        if not chosen:
            lines, hint = _described(found), "These can be chosen." if found else ""
            raise MalformedFile(f"it has no state dict called {entry[:80]!r}", lines, hint)
        return chosen[0]
    found = {path: item for path, item in found.items() if _is_modules(item)} or found
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        hint = f"Choose one, such as file:PATH#{'/'.join(list(found)[-1])[:80]}"
        raise MalformedFile("it holds several state dicts", _described(found), hint)
    raise MalformedFile("it holds no state dict", tuple(_contents(value)))


def _state_dicts(value: Any) -> dict[Path, dict[str, Tensor]]:
    """The dicts of nothing but tensors, each once, of the uppermost level that has a module's."""
    level: dict[Path, Any] = {(): value}
    others: dict[Path, dict[str, Tensor]] = {}
    for _ in range(DEPTH + 1):
        # One object may be mentioned again and again, and costs its length each time.
        level = {path: item for item, path in {id(i): (i, p) for p, i in level.items()}.values()}
        found = {path: item for path, item in level.items() if _is_state_dict(item)}
        if any(map(_is_modules, found.values())):
            return found
        others = others or found
        level = {
            (*path, key): item
            for path, outer in level.items()
            if type(outer) is dict
            for key, item in outer.items()
            if type(key) is str
        }
    return others


def _is_modules(tensors: Mapping[str, Tensor]) -> bool:
    """A module's parameters have names with a dot; states of random numbers, say, have none."""
    return any("." in name for name in tensors)


def _is_state_dict(value: Any) -> bool:
    return (
        type(value) is dict
        and bool(value)
        and all(type(key) is str and isinstance(item, Tensor) for key, item in value.items())
    )


def _described(found: Mapping[Path, Mapping[str, Tensor]]) -> tuple[str, ...]:
    lines = [f"{'/'.join(path)[:80]}: {len(tensors)} tensors" for path, tensors in found.items()]
    return tuple(_cut(lines))


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - LISTED
    return [*lines[:LISTED], f"and {more} more"] if more > 0 else lines


def _contents(value: Any) -> Iterator[str]:
    """Say what a value is that holds no state dict: each entry that is not a tensor."""
    if type(value) is not dict:
        yield f"it is {_in_words(value)}"
        return
    lines = [
        f"{_key(key)} is {_in_words(item)}"
        for key, item in value.items()
        if not isinstance(item, Tensor)
    ]
    yield from _cut(lines)


def _key(key: Any) -> str:
    return key[:80] if type(key) is str else f"{type(key).__name__.lower()} key"


def _in_words(value: Any) -> str:
    if isinstance(value, Opaque | Global):
        return f"an object, {value.name[:200]}, which is not read: save its state_dict()"
    return "None" if value is None else f"of type {type(value).__name__}"


def array(tensor: Tensor, storages: Mapping[str, memoryview]) -> np.ndarray:
    """View a tensor's storage as an array; its length must be the described one."""
    storage = tensor.storage
    if storage.key not in storages:
        fail("a tensor's storage is not in the file")
    content = storages[storage.key]
    if storage.total * storage.dtype.itemsize != len(content):
        fail("a storage's length is wrong")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, storage.dtype)
    numbers = np.frombuffer(content, storage.dtype)[storage.start + tensor.offset :]
    strides = tuple(step * storage.dtype.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
