"""The layout of PyTorch 1.6 and later: a ZIP archive of one pickle and the storages."""

import io
import struct
import zipfile
import zlib

import numpy as np

from jaxft.models.weights.torch_file.machine import unpickle
from jaxft.models.weights.torch_file.malformed import MalformedFile, fail
from jaxft.models.weights.torch_file.state_dict import array, tensors_in

ZIP_START = b"PK\x03\x04"


def read_zip(data: bytes, entry: str = "") -> dict[str, np.ndarray]:
    """Read the tensors of a ZIP archive, each from a member that is stored as it is.

    `entry` names the one of several sets of weights.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        fail("a zip archive, but not one of PyTorch's (no single data.pkl in it)")
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and bytes(_content(data, order)) != b"little":
        fail("its numbers are big-endian")
    pickled = unpickle(io.BytesIO(_content(data, members[pickles[0]])))
    tensors = tensors_in(pickled.value, entry)
    keys = {tensor.storage.key: f"{folder}data/{tensor.storage.key}" for tensor in tensors.values()}
    if missing := sorted(set(keys.values()) - members.keys()):
        raise MalformedFile("members are missing", tuple(missing))
    if sum(members[name].file_size for name in keys.values()) > len(data):
        fail("its members overlap")
    storages = {key: _content(data, members[name]) for key, name in keys.items()}
    return {name: array(tensor, storages) for name, tensor in tensors.items()}


def _content(data: bytes, member: zipfile.ZipInfo) -> memoryview:
    """A member's bytes in place, without a copy; its checksum verified."""
    header = member.header_offset
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or header < 0:
        fail(f"{member.filename} is compressed or encrypted, which PyTorch does not do")
    if data[header : header + 4] != ZIP_START:
        fail(f"{member.filename} is not where the archive says")
    name_bytes, extra_bytes = struct.unpack_from("<HH", data, header + 26)
    start = header + 30 + name_bytes + extra_bytes
    if start + member.file_size > len(data):
        fail(f"{member.filename} reaches beyond the end of the file")
    content = memoryview(data)[start : start + member.file_size]
    if zlib.crc32(content) != member.CRC:
        fail(f"{member.filename} does not match its checksum")
    return content
