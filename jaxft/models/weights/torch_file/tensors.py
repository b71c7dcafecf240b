"""Tensors and storages as a pickle describes them, checked before they are believed."""

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from jaxft.models.weights.torch_file.malformed import fail

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


@dataclass(frozen=True)
class Global:
    """A name of PyTorch's or Python's that a state dict mentions; never imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that no tensor needs, or that a tensor can't be made of; `name` is its class."""

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


def storage_of(identity: Any) -> Storage | Opaque:
    """Read a persistent id: ("storage", type, key, device, elements[, view]).

    Numbers of an unsupported type, such as complex ones, are opaque.
    """
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        fail("a storage is described in an unknown way")
    kind, key, total = identity[1], identity[2], _count(identity[4])
    if not isinstance(kind, Global) or type(key) is not str:
        fail("a storage has an unknown type")
    if kind.name not in STORAGES:
        return Opaque(kind.name)
    start, count = 0, total
    if len(identity) == 6 and identity[5] is not None:
        _, start, count = identity[5]
    if _count(start) + _count(count) > total:
        fail("a view reaches beyond its storage")
    return Storage(key, STORAGES[kind.name], total, start, count)


def rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor | Opaque:
    """Stand in for torch._utils._rebuild_tensor_v2; the tensor lies within its storage."""
    if isinstance(storage, Opaque):
        return storage
    if not isinstance(storage, Storage):
        fail("a tensor has no storage")
    tensor = Tensor(storage, _count(offset), counts(shape), counts(strides))
    if len(tensor.shape) != len(tensor.strides):
        fail("a tensor's shape and strides differ in length")
    if 0 in tensor.shape:
        # numpy multiplies the other sizes all the same, and must not overflow.
        if math.prod(max(size, 1) for size in tensor.shape) >= 1 << 48:
            fail("an empty tensor has impossible sizes")
        return tensor
    if math.prod(tensor.shape) > storage.count:
        fail("a tensor has more elements than its storage")
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset + reach >= storage.count:
        fail("a tensor reaches beyond its storage")
    return tensor


def counts(value: Any) -> tuple[int, ...]:
    """Check a tensor's sizes or strides."""
    if type(value) is not tuple or len(value) > 32:
        fail("a tensor's shape is not a tuple of at most 32 sizes")
    return tuple(_count(item) for item in value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        fail("a size or an offset is not a whole number >= 0")
    return value
