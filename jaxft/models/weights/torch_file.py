"""PyTorch's weight files, read without PyTorch and without running anything that is in them.

Such a file is a pickle (the names and shapes) beside raw numbers. Python's own unpickler calls
whatever the pickle names, so a small machine stands in for it here: it knows the few opcodes that
a state dict needs and builds plain values only. Two layouts exist: a zip archive (PyTorch 1.6 and
later) and the older one, five pickles followed by the raw storages. Every offset, size and stride
is checked against the file's length before it is believed; arrays are views of the file's bytes.
"""

import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
ZIP_START = b"PK\x03\x04"
STORAGES: dict[str, np.dtype] = {
    f"torch.{name}Storage": np.dtype(dtype)
    for name, dtype in {
        "Double": np.float64,
        "Float": np.float32,
        "Half": np.float16,
        "BFloat16": ml_dtypes.bfloat16,
        "Long": np.int64,
        "Int": np.int32,
        "Short": np.int16,
        "Char": np.int8,
        "Byte": np.uint8,
        "Bool": np.bool_,
    }.items()
}
WRAPPERS = ("state_dict", "model")
# A state dict takes about 40 opcodes a tensor; a million tensors is no model.
MAX_OPCODES = 1 << 22


class MalformedFile(ValueError):
    """The file is damaged or holds more than weights; `offenders` lists what."""

    def __init__(self, title: str, offenders: tuple[str, ...] = ()) -> None:
        self.title, self.offenders = title, offenders
        super().__init__(title)


def read(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, as views of `data`; bfloat16 by ml_dtypes.

    Raises:
      MalformedFile: whatever is wrong with `data`.
    """
    try:
        return _read_zip(data) if data.startswith(ZIP_START) else _read_legacy(data)
    except MalformedFile:
        raise
    except Exception as error:
        # Nothing but the file's content can have led here, and it may be hostile.
        raise MalformedFile(f"damaged ({type(error).__name__})") from error


# --- values of the pickle ---------------------------------------------------------------------


@dataclass(frozen=True)
class Global:
    """A name of PyTorch's or Python's that a state dict mentions; never imported."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers elsewhere in the file: `count` elements from `start` of storage `key`."""

    key: str
    dtype: np.dtype
    total: int
    start: int
    count: int


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset, shape and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _fail(title: str) -> NoReturn:
    raise MalformedFile(title)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        _fail("a size or an offset is not a whole number >= 0")
    return value


def _counts(value: Any) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > 32:
        _fail("a tensor's shape is not a tuple of at most 32 sizes")
    return tuple(_count(item) for item in value)


def _storage(identity: Any) -> Storage:
    """The meaning of a persistent id: ("storage", type, key, device, elements[, view])."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        _fail("a storage is described in an unknown way")
    kind, key, total = identity[1], identity[2], _count(identity[4])
    if not isinstance(kind, Global) or kind.name not in STORAGES or type(key) is not str:
        _fail("a storage has an unknown type")
    start, count = 0, total
    if len(identity) == 6 and identity[5] is not None:
        _, start, count = identity[5]
    if _count(start) + _count(count) > total:
        _fail("a view reaches beyond its storage")
    return Storage(key, STORAGES[kind.name], total, start, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2: checked, so that it lies within its storage."""
    if not isinstance(storage, Storage):
        _fail("a tensor has no storage")
    tensor = Tensor(storage, _count(offset), _counts(shape), _counts(strides))
    if len(tensor.shape) != len(tensor.strides):
        _fail("a tensor's shape and strides differ in length")
    if 0 in tensor.shape:
        # numpy multiplies the other sizes all the same, and must not overflow.
        if math.prod(max(size, 1) for size in tensor.shape) >= 1 << 48:
            _fail("an empty tensor has sizes beyond belief")
        return tensor
    if math.prod(tensor.shape) > storage.count:
        _fail("a tensor has more elements than its storage")
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset + reach >= storage.count:
        _fail("a tensor reaches beyond its storage")
    return tensor


def _parameter(tensor: Any, *_: Any) -> Tensor:
    """torch._utils._rebuild_parameter: a tensor that PyTorch would train."""
    return tensor if isinstance(tensor, Tensor) else _fail("a parameter is no tensor")


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """collections.OrderedDict, empty or of the list of pairs that Python 2 wrote."""
    return _with_items({}, [part for key, value in pairs for part in (key, value)])


def _size(sizes: Any = ()) -> tuple[int, ...]:
    """torch.Size."""
    return _counts(tuple(sizes) if type(sizes) in (list, tuple) else None)


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
}
GLOBALS = {**CALLS, **STORAGES}


def _with_items(target: Any, items: list[Any]) -> dict[Any, Any]:
    if type(target) is not dict or len(items) % 2:
        _fail("entries are added to something that is no dict")
    # Only these keys: the hash of nested tuples can take exponential time.
    if any(type(key) not in (str, int) for key in items[::2]):
        _fail("a dict has a key that is neither a string nor a whole number")
    target.update(zip(items[::2], items[1::2], strict=True))
    return target


def _with_elements(target: Any, items: list[Any]) -> list[Any]:
    if type(target) is not list:
        _fail("elements are appended to something that is no list")
    target.extend(items)
    return target


# --- the pickle machine -----------------------------------------------------------------------


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
            _fail("it calls something that is no function")
        if type(arguments) is not tuple:
            _fail("it calls a function without arguments")
        self.stack.append(CALLS[function.name](*arguments))

    def build(self) -> None:
        """An OrderedDict's attributes (`_metadata`) are of no use here: dropped."""
        target, _ = self.pop_tuple(2)
        if type(target) is not dict:
            _fail("it sets attributes")
        self.stack.append(target)


def _literal(machine: Machine, argument: Any) -> None:
    if type(argument) is int and argument.bit_length() > 64:
        _fail("a whole number has more than 64 bits")
    machine.stack.append(argument)


def _push(value: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _stack_global(machine: Machine, _: Any) -> None:
    module, name = machine.pop_tuple(2)
    if type(module) is not str or type(name) is not str:
        _fail("a name is no string")
    machine.push_global(f"{module}.{name}")


def _set_item(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_items(machine.stack.pop(), items))


def _append(machine: Machine, items: list[Any]) -> None:
    machine.stack.append(_with_elements(machine.stack.pop(), items))


def _remember(machine: Machine, index: Any) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


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
    "BINPERSID": lambda machine, _: machine.stack.append(_storage(machine.stack.pop())),
}


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number > MAX_OPCODES:
            _fail(f"its pickle has more than {MAX_OPCODES} opcodes")
        yield opcode.name, argument


def _refuse_globals(stream: io.BytesIO) -> None:
    """Every name that is not a state dict's, in one message, before anything is built."""
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


def unpickle(stream: io.BytesIO) -> Any:
    """The value of the pickle at the stream's position, which then stands right after it."""
    _refuse_globals(stream)
    machine = Machine()
    for opcode, argument in _opcodes(stream):
        if opcode == "STOP":
            return machine.stack.pop()
        if opcode not in OPCODES:
            _fail(f"its pickle uses the opcode {opcode}, which no state dict needs")
        OPCODES[opcode](machine, argument)
    _fail("its pickle has no end")


# --- the two layouts --------------------------------------------------------------------------


def _read_zip(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        _fail("a zip archive, but not one of PyTorch's (no single data.pkl in it)")
    folder = pickles[0].removesuffix("data.pkl")
    order = entries.get(f"{folder}byteorder")
    if order is not None and bytes(_zip_entry(data, order)) != b"little":
        _fail("its numbers are big-endian")
    tensors = _tensors(unpickle(io.BytesIO(_zip_entry(data, entries[pickles[0]]))))
    keys = {tensor.storage.key: f"{folder}data/{tensor.storage.key}" for tensor in tensors.values()}
    if missing := sorted(set(keys.values()) - entries.keys()):
        raise MalformedFile("entries are missing", tuple(missing))
    if sum(entries[name].file_size for name in keys.values()) > len(data):
        _fail("its entries overlap")
    storages = {key: _zip_entry(data, entries[name]) for key, name in keys.items()}
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _zip_entry(data: bytes, entry: zipfile.ZipInfo) -> memoryview:
    """An entry's bytes in place, without a copy; its checksum verified."""
    header = entry.header_offset
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or header < 0:
        _fail(f"{entry.filename} is compressed or encrypted, which PyTorch does not do")
    if data[header : header + 4] != ZIP_START:
        _fail(f"{entry.filename} is not where the archive says")
    name_bytes, extra_bytes = struct.unpack_from("<HH", data, header + 26)
    start = header + 30 + name_bytes + extra_bytes
    if start + entry.file_size > len(data):
        _fail(f"{entry.filename} reaches beyond the end of the file")
    content = memoryview(data)[start : start + entry.file_size]
    if zlib.crc32(content) != entry.CRC:
        _fail(f"{entry.filename} does not match its checksum")
    return content


def _read_legacy(data: bytes) -> dict[str, np.ndarray]:
    if not data.startswith(LEGACY_START):
        _fail("no layout of PyTorch's")
    stream = io.BytesIO(data)
    stream.seek(len(LEGACY_START))
    system = unpickle(stream)
    if type(system) is not dict or system.get("little_endian") is not True:
        _fail("its numbers are big-endian")
    tensors = _tensors(unpickle(stream))
    keys = unpickle(stream)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        _fail("its list of storages is no list of names")
    storages = _legacy_storages(data, stream.tell(), keys, tensors)
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _legacy_storages(
    data: bytes, position: int, keys: list[str], tensors: Mapping[str, Tensor]
) -> dict[str, memoryview]:
    """Each storage is its number of elements (int64) and then the elements."""
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = {}
    for key in keys:
        if key not in known or key in storages:
            _fail("a storage belongs to no tensor")
        (count,) = struct.unpack_from("<q", data, position)
        end = position + 8 + known[key].total * known[key].dtype.itemsize
        if count != known[key].total or end > len(data):
            _fail("a storage's length is wrong, or the file was cut short")
        storages[key] = memoryview(data)[position + 8 : end]
        position = end
    return storages


def _tensors(value: Any) -> dict[str, Tensor]:
    """The state dict in what was saved: itself, or under "state_dict" or "model"."""
    for wrapper in WRAPPERS * 2:
        if type(value) is dict and type(value.get(wrapper)) is dict:
            value = value[wrapper]
    if type(value) is not dict:
        _fail("it holds no state dict")
    others = [str(name)[:80] for name, item in value.items() if not isinstance(item, Tensor)]
    if others or any(type(name) is not str for name in value):
        raise MalformedFile("entries of its state dict are no tensors", tuple(others))
    return value


def _array(tensor: Tensor, storages: Mapping[str, memoryview]) -> np.ndarray:
    storage = tensor.storage
    if storage.key not in storages:
        _fail("a tensor's storage is not in the file")
    content = storages[storage.key]
    if storage.total * storage.dtype.itemsize != len(content):
        _fail("a storage's length is wrong")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, storage.dtype)
    numbers = np.frombuffer(content, storage.dtype)[storage.start + tensor.offset :]
    strides = tuple(step * storage.dtype.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
