"""The state dict in a pickle's value, and its tensors as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.models.weights.torch_file.tensors import Tensor

WRAPPERS = ("state_dict", "model")


def tensors_in(value: Any) -> dict[str, Tensor]:
    """Find the state dict in a saved value: the value, or its entry "state_dict" or "model"."""
    for wrapper in WRAPPERS * 2:
        if type(value) is dict and type(value.get(wrapper)) is dict:
            value = value[wrapper]
    if type(value) is not dict:
        fail("it holds no state dict")
    others = [str(name)[:80] for name, item in value.items() if not isinstance(item, Tensor)]
    if others or any(type(name) is not str for name in value):
        raise MalformedFile("entries of its state dict are not tensors", tuple(others))
    return value


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
