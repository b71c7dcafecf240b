"""Files as torch.save writes them, made without PyTorch."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "complex64": "ComplexFloatStorage"}


class Stored(NamedTuple):
    """A storage that a pickle refers to by a key."""

    kind: type
    key: str
    size: int


@contextmanager
def names_of_torch() -> Iterator[types.ModuleType]:
    """Let pickle look up the names of PyTorch's that a file mentions, while this lasts."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(module, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": module, "torch._utils": utils})
    try:
        yield module
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


class Pickler(pickle.Pickler):
    """Writes arrays as PyTorch writes tensors; gathers their numbers."""

    def __init__(self, stream: io.BytesIO, torch: types.ModuleType, protocol: int) -> None:
        super().__init__(stream, protocol)
        self.torch = torch
        self.storages: dict[str, np.ndarray] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Stored):
            return None
        return ("storage", obj.kind, obj.key, "cpu", obj.size)

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, np.ndarray):
            return NotImplemented
        key = str(len(self.storages))
        self.storages[key] = np.ascontiguousarray(obj)
        stored = Stored(getattr(self.torch, STORAGES[obj.dtype.name]), key, obj.size)
        strides = tuple(int(np.prod(obj.shape[axis + 1 :])) for axis in range(obj.ndim))
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (stored, 0, obj.shape, strides, False, OrderedDict())


def saved(value: Any, layout: str = "zip", protocol: int = 2) -> bytes:
    """Return what torch.save writes of a value; layout "zip" or "legacy"."""
    stream = io.BytesIO()
    with names_of_torch() as torch:
        pickler = Pickler(stream, torch, protocol)
        pickler.dump(value)
    storages = pickler.storages
    if layout == "legacy":
        heads = [pickle.dumps(one, 2) for one in (MAGIC, 1001, {"little_endian": True})]
        numbers = [len(a.ravel()).to_bytes(8, "little") + a.tobytes() for a in storages.values()]
        return b"".join((*heads, stream.getvalue(), pickle.dumps([*storages], 2), *numbers))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return file.getvalue()
