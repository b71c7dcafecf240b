"""A pickle machine that builds plain values and calls nothing but CALLS."""

from collections.abc import Callable
from typing import Any

from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.models.weights.torch_file.tensors import STORAGES, Global, Tensor, counts, rebuilt


class Machine:
    """Builds one pickle's value from literals, containers and CALLS; imports nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def pop_tuple(self, length: int) -> tuple[Any, ...]:
        items = [self.stack.pop() for _ in range(length)]
        return tuple(reversed(items))

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def push_global(self, name: str) -> None:
        if name not in GLOBALS:
            raise MalformedFile("it asks for more than weights", (f"refused: {name}",))
        self.stack.append(Global(name))

    def reduce(self) -> None:
        function, arguments = self.pop_tuple(2)
        if not isinstance(function, Global) or function.name not in CALLS:
            fail("it calls something that is no function")
        if type(arguments) is not tuple:
            fail("it calls a function without arguments")
        self.stack.append(CALLS[function.name](*arguments))

    def build(self) -> None:
        """Drop an OrderedDict's attributes (`_metadata`), which are of no use here."""
        target, _ = self.pop_tuple(2)
        if type(target) is not dict:
            fail("it sets attributes")
        self.stack.append(target)


def with_items(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Add alternating keys and values to a dict."""
    if type(target) is not dict or len(items) % 2:
        fail("entries are added to something that is no dict")
    # Only these keys: the hash of nested tuples can take exponential time.
    if any(type(key) not in (str, int) for key in items[::2]):
        fail("a dict has a key that is neither a string nor a whole number")
    target.update(zip(items[::2], items[1::2], strict=True))
    return target


def with_elements(target: Any, items: list[Any]) -> list[Any]:
    """Append items to a list."""
    if type(target) is not list:
        fail("elements are appended to something that is no list")
    target.extend(items)
    return target


def _parameter(tensor: Any, *_: Any) -> Tensor:
    """Stand in for torch._utils._rebuild_parameter: a tensor that PyTorch would train."""
    return tensor if isinstance(tensor, Tensor) else fail("a parameter is no tensor")


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Stand in for collections.OrderedDict, empty or of the list of pairs that Python 2 wrote."""
    return with_items({}, [part for key, value in pairs for part in (key, value)])


def _size(sizes: Any = ()) -> tuple[int, ...]:
    """Stand in for torch.Size."""
    return counts(tuple(sizes) if type(sizes) in (list, tuple) else None)


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": rebuilt,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
}
GLOBALS = {**CALLS, **STORAGES}
