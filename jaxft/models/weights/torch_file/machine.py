"""A pickle machine that builds plain values and calls nothing but CALLS.

It knows the few opcodes that a state dict needs.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.models.weights.torch_file.tensors import (
    STORAGES,
    Global,
    Tensor,
    counts,
    rebuilt,
    storage_of,
)

# A state dict takes about 40 opcodes a tensor; a million tensors is no model.
MAX_OPCODES = 1 << 22


def unpickle(stream: io.BytesIO) -> Any:
    """Read the pickle at the stream's position, which then stands right after it."""
    _refuse_globals(stream)
    machine = Machine()
    for opcode, argument in _opcodes(stream):
        if opcode == "STOP":
            return machine.stack.pop()
        if opcode not in OPCODES:
            fail(f"its pickle uses the opcode {opcode}, which no state dict needs")
        OPCODES[opcode](machine, argument)
    fail("its pickle has no end")


def _refuse_globals(stream: io.BytesIO) -> None:
    """Refuse all names that are not a state dict's in one message, before anything is built."""
    start = stream.tell()
    names = {
        argument.replace(" ", ".")
        for opcode, argument in _opcodes(stream)
        if opcode in ("GLOBAL", "INST")
    }
    stream.seek(start)
    if refused := sorted(names - GLOBALS.keys()):
        offenders = tuple(f"refused: {name}" for name in refused)
        raise MalformedFile("it asks for more than weights", offenders)


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number > MAX_OPCODES:
            fail(f"its pickle has more than {MAX_OPCODES} opcodes")
        yield opcode.name, argument


class Machine:
    """Builder of one pickle's value from literals, containers and CALLS; imports nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.handed = 0  # elements of what functions were given, which may be the same again

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
            fail("it calls something that is not a function")
        if type(arguments) is not tuple:
            fail("it calls a function without arguments")
        self.handed += sum(len(one) for one in arguments if isinstance(one, list | tuple | dict))
        if self.handed > MAX_OPCODES:
            fail(f"its pickle hands more than {MAX_OPCODES} elements to functions")
        self.stack.append(CALLS[function.name](*arguments))

    def build(self) -> None:
        """Drop an OrderedDict's attributes (`_metadata`), which are of no use here."""
        target, _ = self.pop_tuple(2)
        if type(target) is not dict:
            fail("it sets attributes")
        self.stack.append(target)


def _literal(machine: Machine, argument: Any) -> None:
    if type(argument) is int and argument.bit_length() > 64:
        fail("a whole number has more than 64 bits")
    machine.stack.append(argument)


def _push(value: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _stack_global(machine: Machine, _: Any) -> None:
    module, name = machine.pop_tuple(2)
    if type(module) is not str or type(name) is not str:
        fail("a name is not a string")
    machine.push_global(f"{module}.{name}")


def _set_item(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_items(machine.stack.pop(), items))


def _append(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_elements(machine.stack.pop(), items))


def _remember(machine: Machine, index: Any) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _with_items(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Add alternating keys and values to a dict."""
    if type(target) is not dict or len(items) % 2:
        fail("entries are added to something that is not a dict")
    # Only these keys: the hash of nested tuples can take exponential time.
    if any(type(key) not in (str, int) for key in items[::2]):
        fail("a dict has a key that is neither a string nor a whole number")
    target.update(zip(items[::2], items[1::2], strict=True))
    return target


def _with_elements(target: Any, items: list[Any]) -> list[Any]:
    """Append items to a list."""
    if type(target) is not list:
        fail("elements are appended to something that is not a list")
    target.extend(items)
    return target


def _parameter(tensor: Any, *_: Any) -> Tensor:
    """Stand in for torch._utils._rebuild_parameter: a tensor that PyTorch would train."""
    return tensor if isinstance(tensor, Tensor) else fail("a parameter is not a tensor")


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Stand in for collections.OrderedDict, empty or of the list of pairs that Python 2 wrote."""
    return _with_items({}, [part for key, value in pairs for part in (key, value)])


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

OPCODES: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
        ),
        _literal,
    ),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: _literal(machine, tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop_tuple(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop_tuple(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop_tuple(3)),
    "SETITEM": lambda machine, _: _set_item(machine, list(machine.pop_tuple(2))),
    "SETITEMS": lambda machine, _: _set_item(machine, machine.pop_mark()),
    "APPEND": lambda machine, _: _append(machine, list(machine.pop_tuple(1))),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_mark()),
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": _remember,
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, name: machine.push_global(name.replace(" ", ".")),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.stack.append(storage_of(machine.stack.pop())),
}
