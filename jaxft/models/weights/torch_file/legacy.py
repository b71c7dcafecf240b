"""The layout before PyTorch 1.6: five pickles, followed by the raw storages."""

import io
import struct
from collections.abc import Mapping

import numpy as np

from jaxft.models.weights.torch_file.machine import unpickle
from jaxft.models.weights.torch_file.malformed import fail
from jaxft.models.weights.torch_file.state_dict import array, tensors_in
from jaxft.models.weights.torch_file.tensors import Storage

LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def read_legacy(data: bytes, entry: str = "") -> dict[str, np.ndarray]:
    """Read the tensors of a file that begins with LEGACY_START, the first two pickles.

    `entry` names the one of several sets of weights.
    """
    if not data.startswith(LEGACY_START):
        fail("not a layout of PyTorch's")
    stream = io.BytesIO(data)
    stream.seek(len(LEGACY_START))
    system = unpickle(stream).value
    if type(system) is not dict or system.get("little_endian") is not True:
        fail("its numbers are big-endian")
    pickled = unpickle(stream)
    tensors = tensors_in(pickled.value, entry)
    keys = unpickle(stream).value
    if type(keys) is not list or any(type(key) is not str for key in keys):
        fail("its list of storages is not a list of names")
    storages = _storages(data, stream.tell(), keys, pickled.storages)
    return {name: array(tensor, storages) for name, tensor in tensors.items()}


def _storages(
    data: bytes, position: int, keys: list[str], known: Mapping[str, Storage]
) -> dict[str, memoryview]:
    """Bytes of each storage, which follow its number of elements (int64)."""
    storages = {}
    for key in keys:
        if key not in known or key in storages:
            fail("a storage belongs to no tensor, or holds numbers of an unsupported type")
        (count,) = struct.unpack_from("<q", data, position)
        end = position + 8 + known[key].total * known[key].dtype.itemsize
        if count != known[key].total or end > len(data):
            fail("a storage's length is wrong, or the file was cut short")
        storages[key] = memoryview(data)[position + 8 : end]
        position = end
    return storages
