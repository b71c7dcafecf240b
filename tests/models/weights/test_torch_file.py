"""PyTorch's files: right numbers from good ones, one clear refusal from all others."""

import io
import os
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from places import GOLDEN

from jaxft.models.weights.torch_file import machine
from jaxft.models.weights.torch_file.legacy import LEGACY_START
from jaxft.models.weights.torch_file.malformed import MalformedFile
from jaxft.models.weights.weight_file import read_torch as read

LAYOUTS = ("zip", "legacy")
ONE_MEBIBYTE = 1 << 20


def _bytes(layout: str) -> bytes:
    return (GOLDEN / f"{layout}.pth").read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_stride_is_read(layout):
    arrays = read(_bytes(layout))
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
    expected = {
        "float32": numbers,
        "transposed": numbers.T,
        "row": numbers[1],
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.int64(7),
        "parameter": np.array([1.5, -2.5], np.float32),
        "truth": np.array([True, False]),
        **{
            np.dtype(dtype).name: np.array([1, 2, 250]).astype(dtype)
            for dtype in ("f8", "f2", ml_dtypes.bfloat16, "i4", "u1")
        },
    }
    assert list(arrays) == list(expected)
    for name, value in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(arrays[name], value)


def test_a_state_dict_inside_a_checkpoint_is_found():
    assert "module.0.weight" in read(_bytes("nested"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_files_are_refused_without_large_allocations(layout):
    good = _bytes(layout)
    dice = random.Random(0)
    damaged = []
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(len(data))] = dice.choice((0, 0x7F, 0xFF, dice.randrange(256)))
        damaged.append(bytes(data))
    tracemalloc.start()
    for content in damaged:
        try:
            for array in read(content).values():
                array.sum(dtype=np.float32)
        except MalformedFile:
            continue
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < ONE_MEBIBYTE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_short_anywhere_is_refused(layout):
    good = _bytes(layout)
    for length in (*range(0, len(good), 13), len(good) - 1):
        with pytest.raises(MalformedFile):
            read(good[:length])


def test_a_wrong_length_before_the_numbers_of_a_legacy_file_is_refused():
    data = bytearray(_bytes("legacy"))
    # The last storage: three bytes, and before them their number as int64.
    assert data[-11:] == struct.pack("<q", 3) + bytes([1, 2, 250])
    data[-11] = 2
    with pytest.raises(MalformedFile):
        read(bytes(data))


def test_a_flipped_bit_in_the_numbers_of_a_zip_is_noticed():
    data = bytearray(_bytes("zip"))
    numbers = (np.arange(12, dtype=np.float32) / 8).tobytes()
    data[data.index(numbers) + 5] ^= 1
    with pytest.raises(MalformedFile, match="checksum"):
        read(bytes(data))


# --- hostile pickles ---------------------------------------------------------------------------


class Runs:
    """Unpickled by Python, this makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("jaxft-was-here",)


def _zip(content: bytes, **storages: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", content)
        for key, numbers in storages.items():
            archive.writestr(f"a/data/{key}", numbers)
    return stream.getvalue()


def _legacy(content: bytes) -> bytes:
    system = pickle.dumps({"little_endian": True}, protocol=2)
    return LEGACY_START + system + content + pickle.dumps([], protocol=2)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("layout", [_zip, _legacy])
def test_a_pickle_that_would_run_code_is_refused_by_name(layout, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = OrderedDict(weight=Runs())
    with pytest.raises(MalformedFile) as refusal:
        read(layout(pickle.dumps(hostile, protocol)))
    if protocol >= 2:  # torch.save's is 2, of which 0 and 1 have other opcodes
        (line,) = refusal.value.offenders
        assert line.startswith(f"weight is an object, {os.mkdir.__module__}.mkdir, which is not")
    assert not list(tmp_path.iterdir())


def _tensor_pickle(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, total: int = 4
) -> bytes:
    """{"w": tensor}, written by hand, of a float32 storage "0" with `total` elements."""

    def integers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
    storage += b"\x8a\x08" + struct.pack("<q", total) + b"tQ"
    arguments = storage + b"\x8a\x08" + struct.pack("<q", offset)
    arguments += integers(size) + integers(stride) + b"\x89}"
    return b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def test_a_tensor_written_by_hand_is_read():
    numbers = np.arange(4, dtype=np.float32)
    content = _zip(_tensor_pickle((2, 2), (1, 2)), **{"0": numbers.tobytes()})
    np.testing.assert_array_equal(read(content)["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    "tensor",
    [
        dict(size=(5,), stride=(1,)),
        dict(size=(4,), stride=(2,)),
        dict(size=(4,), stride=(1,), offset=1),
        dict(size=(2,), stride=(-1,), offset=3),
        dict(size=(-1,), stride=(1,)),
        dict(size=(4,), stride=(1,), offset=-1),
        dict(size=(1 << 40,), stride=(0,)),
        dict(size=(1 << 61, 0), stride=(1, 1)),
        dict(size=(4,), stride=(1, 1)),
        dict(size=(5,), stride=(1,), total=5),
        dict(size=(1 << 61,), stride=(1,), total=1 << 61),
        dict(size=(1,) * 65, stride=(1,) * 65),
    ],
)
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tensor):
    with pytest.raises(MalformedFile):
        read(_zip(_tensor_pickle(**tensor), **{"0": bytes(16)}))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({"epoch": 3}, protocol=2),
        b"\x80\x02}q\0h\0X\x0a\0\0\0state_dicth\0s.",  # a dict that holds itself
        b"\x80\x02}X\x0a\0\0\0state_dict" + b"(" * 9000 + b"t" * 9000 + b"s.",
        b"\x80\x02" + b"N" * 100,
        b"\x80\x02}(\x8b\xff\xff\xff\x7f",
        b"\x80\x02Nr\xff\xff\xff\xff0.",
        b"\x80\x02ctorch\nFloatStorage\n}X\x01\0\0\0aK\x01sb.",
    ],
)
@pytest.mark.parametrize("layout", [_zip, _legacy])
def test_pickles_of_other_things_are_refused(layout, content):
    with pytest.raises(MalformedFile):
        read(layout(content))


def test_a_compressed_archive_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", _tensor_pickle((4,), (1,)))
        archive.writestr("a/data/0", bytes(16))
    with pytest.raises(MalformedFile, match="compressed"):
        read(stream.getvalue())


def test_an_endless_pickle_is_cut_off(monkeypatch):
    monkeypatch.setattr(machine, "MAX_OPCODES", 1000)
    with pytest.raises(MalformedFile, match="opcodes"):
        read(_zip(b"\x80\x02" + b"N" * 2000 + b"."))


def test_the_same_list_handed_to_a_function_again_and_again_is_refused():
    """The work is the product of calls and elements, of which neither is large."""
    pairs, calls = 20_000, 5_000
    body = b"\x80\x02(X\x01\x00\x00\x00kK\x01\x86q\x02]q\x00(" + b"h\x02" * pairs
    body += b"e\x85q\x04ccollections\nOrderedDict\nq\x03" + b"h\x03h\x04R" * calls + b"t."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", body)
    content, began = stream.getvalue(), time.process_time()
    with pytest.raises(MalformedFile, match="more elements to functions than the file has bytes"):
        read(content)
    assert time.process_time() - began < 0.3
    assert len(content) < 70_000


def test_an_object_mentioned_again_and_again_is_looked_at_once():
    """A checkpoint whose entries are all the same large dict."""
    inner = b"}q\x00(" + b"".join(b"X\x04\0\0\0%04dN" % n for n in range(5_000)) + b"u"
    outer = b"".join(b"X\x04\0\0\0%04dh\x00" % n for n in range(5_000))
    body = b"\x80\x02}(X\x05\0\0\0first" + inner + outer + b"u."
    began = time.process_time()
    with pytest.raises(MalformedFile, match="no state dict") as refusal:
        read(_zip(body))
    assert time.process_time() - began < 1
    assert len(refusal.value.offenders) < 50
