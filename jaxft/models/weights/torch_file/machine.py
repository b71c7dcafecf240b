"""A pickle machine that builds plain values and calls nothing but CALLS.

Whatever else a pickle names, calls or makes is held as an `Opaque`: a trainer's arguments, numbers
of NumPy's, an optimizer's defaults. Nothing is imported, and nothing of the file's is run.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxft.models.weights.torch_file.malformed import fail
from jaxft.models.weights.torch_file.tensors import (
    Global,
    Opaque,
    Storage,
    Tensor,
    counts,
    rebuilt,
    storage_of,
)

# A tensor takes about 40 opcodes, an optimizer's state three times as many: 10,000 are no model.
MAX_OPCODES = 1 << 21


class Pickled(NamedTuple):
    """A pickle's value, and every storage that it mentions by its key."""

    value: Any
    storages: Mapping[str, Storage]


def unpickle(stream: io.BytesIO) -> Pickled:
    """Read the pickle at the stream's position, which then stands right after it."""
    machine = Machine(most=len(stream.getbuffer()))
    for opcode, argument in _opcodes(stream):
        if opcode == "STOP":
            return Pickled(machine.stack.pop(), machine.storages)
        if opcode not in OPCODES:
            fail(f"its pickle uses the opcode {opcode}, which torch.save does not write")
        OPCODES[opcode](machine, argument)
    fail("its pickle has no end")


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number > MAX_OPCODES:
            fail(f"its pickle has more than {MAX_OPCODES} opcodes")
        yield opcode.name, argument


class Machine:
    """Builder of one pickle's value from literals, containers and CALLS; imports nothing.

    Args:
      most: elements that it hands to functions at most. Each takes a byte of the file at least,
        unless one list is handed over again and again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.handed = 0

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def pop_tuple(self, length: int) -> tuple[Any, ...]:
        items = [self.stack.pop() for _ in range(length)]
        return tuple(reversed(items))

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def reduce(self) -> None:
        function, arguments = self.pop_tuple(2)
        if not isinstance(function, Global | Opaque):
            fail("it calls something that is not a function")
        if type(arguments) is not tuple:
            fail("it calls a function without arguments")
        self.stack.append(self.called(function.name, arguments))

    def called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name not in CALLS:
            return Opaque(name)
        self.handed += sum(len(one) for one in arguments if isinstance(one, list | tuple | dict))
        if self.handed > self.most:
            fail("its pickle hands more elements to functions than the file has bytes")
        return CALLS[name](*arguments)

    def make(self, parts: int) -> None:
        """Hold an object by its class; the arguments of the class are dropped."""
        made = self.pop_tuple(parts)[0]
        if not isinstance(made, Global | Opaque):
            fail("it makes an object of something that is not a class")
        self.stack.append(Opaque(made.name))

    def build(self) -> None:
        """Drop an object's attributes, such as an OrderedDict's `_metadata`."""
        target, _ = self.pop_tuple(2)
        if type(target) is not dict and not isinstance(target, Opaque):
            fail("it sets attributes")
        self.stack.append(target)

    def refer(self) -> None:
        """Take what lies elsewhere in the file: a storage, or the class of a whole model."""
        identity = self.stack.pop()
        if type(identity) is tuple and identity[:1] == ("module",) and len(identity) > 1:
            self.stack.append(identity[1])
            return
        storage = storage_of(identity)
        if isinstance(storage, Storage):
            self.storages[storage.key] = storage
        self.stack.append(storage)


def _literal(machine: Machine, argument: Any) -> None:
    is_long = type(argument) is int and argument.bit_length() > 64  # costs time to hash, to print
    machine.stack.append(Opaque("a long number") if is_long else argument)


def _push(value: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _stack_global(machine: Machine, _: Any) -> None:
    module, name = machine.pop_tuple(2)
    if type(module) is not str or type(name) is not str:
        fail("a name is not a string")
    machine.stack.append(Global(f"{module}.{name}"))


def _set_item(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_items(machine.stack.pop(), items))


def _append(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_elements(machine.stack.pop(), items))


def _remember(machine: Machine, index: Any) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _with_items(target: Any, items: list[Any]) -> Any:
    """Add alternating keys and values to a dict; an opaque object stays as it is."""
    if isinstance(target, Opaque):
        return target
    if type(target) is not dict or len(items) % 2:
        fail("entries are added to something that is not a dict")
    # Only these keys: the hash of nested tuples can take exponential time.
    keys = (key if type(key) in (str, int) else Opaque("a key") for key in items[::2])
    target.update(zip(keys, items[1::2], strict=True))
    return target


def _with_elements(target: Any, items: list[Any]) -> Any:
    """Append items to a list; an opaque object stays as it is."""
    if isinstance(target, Opaque):
        return target
    if type(target) is not list:
        fail("elements are appended to something that is not a list")
    target.extend(items)
    return target


def _set(machine: Machine, _: Any) -> None:
    """Hold a set that is made at once."""
    machine.pop_mark()
    machine.stack.append(Opaque("a set"))


def _parameter(tensor: Any, *_: Any) -> Tensor | Opaque:
    """Stand in for torch._utils._rebuild_parameter: a tensor that PyTorch would train."""
    return tensor if isinstance(tensor, Tensor | Opaque) else fail("a parameter is not a tensor")


def _ordered_dict(pairs: Any = ()) -> Any:
    """Stand in for collections.OrderedDict, empty or of the list of pairs that Python 2 wrote."""
    return _with_items({}, [part for key, value in pairs for part in (key, value)])


def _size(sizes: Any = ()) -> tuple[int, ...]:
    """Stand in for torch.Size."""
    return counts(tuple(sizes) if type(sizes) in (list, tuple) else None)


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": rebuilt,
    "torch._utils._rebuild_tensor_v2": rebuilt,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
}

OPCODES: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ),
        _literal,
    ),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_SET": _push(lambda: Opaque("a set")),
    "FROZENSET": _set,
    "ADDITEMS": lambda machine, _: _append(machine, machine.pop_mark()),
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
    "GLOBAL": lambda machine, name: machine.stack.append(Global(name.replace(" ", "."))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.reduce(),
    "NEWOBJ": lambda machine, _: machine.make(2),
    "NEWOBJ_EX": lambda machine, _: machine.make(3),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.refer(),
}
