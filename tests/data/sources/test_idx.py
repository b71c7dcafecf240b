"""MNIST's files: their contents, names and faults."""

import gzip
import hashlib
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from jaxft.data.images.sizing import Sizing
from jaxft.data.sources import idx, idx_file
from jaxft.data.sources.idx_file import read_idx
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError


def packed(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays(train: int = 12, test: int = 6) -> dict[str, np.ndarray]:
    """Images of 5 x 4 pixels, each of the one gray value of its position, in 3 classes."""

    def images(count: int) -> np.ndarray:
        return np.arange(count)[:, None, None].repeat(5, 1).repeat(4, 2)

    return {
        "train-images-idx3-ubyte": images(train),
        "train-labels-idx1-ubyte": np.arange(train) % 3,
        "t10k-images-idx3-ubyte": images(test) + 100,
        "t10k-labels-idx1-ubyte": np.arange(test) % 3,
    }


def write(folder: Path, files: Mapping[str, np.ndarray | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        plain = content if isinstance(content, bytes) else packed(content)
        (folder / name).write_bytes(gzip.compress(plain) if name.endswith(".gz") else plain)
    return folder


def failure(folder: Path) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        open_dataset(f"idx:{folder}")
    assert str(folder) in caught.value.title
    return caught.value.offenders


class TestWhatIsRead:
    @pytest.mark.parametrize("end", ["", ".gz"])
    def test_splits(self, tmp_path, end):
        write(tmp_path, {name + end: array for name, array in arrays().items()})
        dataset = open_dataset(f"idx:{tmp_path}", valid_fraction=0.25)
        assert dataset.classes == ("0", "1", "2")
        assert np.bincount(dataset.valid.labels).tolist() == [1, 1, 1]
        assert sorted([*dataset.train.names, *dataset.valid.names]) == sorted(
            f"train/{i}" for i in range(12)
        )
        assert dataset.test is not None and dataset.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
        for split, first in ((dataset.train, 0), (dataset.valid, 0), (dataset.test, 100)):
            for i, (name, label) in enumerate(zip(split.names, split.labels, strict=True)):
                number = int(name.partition("/")[2])
                assert label == number % 3
                pixels = split.read(i)
                assert pixels.shape == (5, 4, 3) and pixels.dtype == np.uint8
                assert (pixels == first + number).all()
        assert dataset.test.read(0, Sizing(8)).shape == (10, 8, 3)
        assert dataset.test.read(0, Sizing(8), 0.5).shape == (8, 8, 3)

    def test_without_test_files(self, tmp_path):
        write(tmp_path, {name: a for name, a in arrays().items() if name.startswith("train")})
        assert open_dataset(f"idx:{tmp_path}").test is None

    def test_other_spellings(self, tmp_path):
        """As archives unpack them, the test files called so, and packed files beside plain ones."""
        given = arrays()
        write(
            tmp_path,
            {
                "train-images.idx3-ubyte": given["train-images-idx3-ubyte"],
                "train-images.idx3-ubyte.gz": b"not looked at",
                "train-labels.idx1-ubyte": given["train-labels-idx1-ubyte"],
                "test-images-idx3-ubyte.gz": given["t10k-images-idx3-ubyte"],
                "test-labels-idx1-ubyte": given["t10k-labels-idx1-ubyte"],
            },
        )
        dataset = open_dataset(f"idx:{tmp_path}")
        assert dataset.test is not None
        assert len(dataset.train) + len(dataset.valid) == 12 and len(dataset.test) == 6

    def test_colours(self, tmp_path):
        pixels = np.random.default_rng(0).integers(256, size=(4, 3, 2, 3))
        files = {"train-images-idx4-ubyte": pixels, "train-labels-idx1-ubyte": np.arange(4) % 2}
        dataset = open_dataset(f"idx:{write(tmp_path, files)}")
        number = int(dataset.train.names[0].partition("/")[2])
        np.testing.assert_array_equal(dataset.train.read(0), pixels[number])


class TestClasses:
    def test_names_beside_the_files(self, tmp_path):
        write(tmp_path, {**arrays(), "classes.txt": "\ufeffcat\r\n dog\nKäfer\n\n".encode()})
        assert open_dataset(f"idx:{tmp_path}").classes == ("cat", "dog", "Käfer")

    def test_numbers_that_do_not_begin_at_0(self, tmp_path):
        given = arrays()
        for side in ("train", "t10k"):
            given[f"{side}-labels-idx1-ubyte"] = given[f"{side}-labels-idx1-ubyte"] * 2 + 9
        dataset = open_dataset(f"idx:{write(tmp_path, given)}")
        assert dataset.classes == ("9", "11", "13")
        assert dataset.test is not None and dataset.test.labels.tolist() == [0, 1, 2, 0, 1, 2]

    def test_known_by_their_labels(self, tmp_path, monkeypatch):
        write(tmp_path, arrays())
        labels = arrays()["train-labels-idx1-ubyte"].astype(np.uint8).tobytes()
        digest = hashlib.sha256(labels).hexdigest()
        monkeypatch.setitem(idx.KNOWN_CLASSES, digest, ("x", "y", "z"))
        assert open_dataset(f"idx:{tmp_path}").classes == ("x", "y", "z")


class TestIdentity:
    def test_is_the_content_wherever_it_lies(self, tmp_path):
        plain = write(tmp_path / "a", arrays())
        zipped = write(tmp_path / "b", {f"{name}.gz": a for name, a in arrays().items()})
        first, second = (open_dataset(f"idx:{folder}").train.identity for folder in (plain, zipped))
        assert first == second and len({*first}) == len(first)

    def test_changes_with_a_pixel_and_with_the_shape(self, tmp_path):
        given = arrays()
        seen = [open_dataset(f"idx:{write(tmp_path, given)}").train.identity]
        given["train-images-idx3-ubyte"] = given["train-images-idx3-ubyte"].reshape(12, 4, 5)
        seen.append(open_dataset(f"idx:{write(tmp_path, given)}").train.identity)
        given["train-images-idx3-ubyte"][3, 2, 1] += 1
        seen.append(open_dataset(f"idx:{write(tmp_path, given)}").train.identity)
        assert len({identity[0] for identity in seen}) == 3


class TestWhatIsWrong:
    def test_all_in_one_message(self, tmp_path):
        given = arrays()
        whole = packed(given["train-images-idx3-ubyte"])
        write(
            tmp_path,
            {
                "train-images-idx3-ubyte": whole[:-7],
                "train-labels-idx1-ubyte": packed(given["train-labels-idx1-ubyte"]) + b"x",
                "t10k-images-idx3-ubyte.gz": b"",
                "classes.txt": b"a\nb\na\n",
            },
        )
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-20])
        assert failure(tmp_path) == (
            "train-images-idx3-ubyte: its header says 12 x 5 x 4, 240 bytes, but it has 233: "
            "it is truncated",
            "train-labels-idx1-ubyte: its header says 12, 12 bytes, but it has more",
            "t10k-images-idx3-ubyte.gz: damaged gzip file: Compressed file ended before the "
            "end-of-stream marker was reached",
            "no t10k-labels-idx1-ubyte, with or without .gz",
            'classes.txt: "a" appears 2 times',
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty file"),
            (b"<html>", "not an idx file: begins with 0x3c68746d"),
            (b"\0\0\x0d\x03" + bytes(12), "holds numbers of type 0x0d"),
            (packed(np.zeros((2, 2))), "has 2 dimensions, but should have 3 or 4"),
            (b"\0\0\x08\x03" + bytes(9), "its header is truncated"),
            (b"\0\0\x08\x04" + b"\xff" * 16 + b"1234", "truncated"),
            (b"\x1f\x8b\x08\x00" + bytes(20), "damaged gzip file"),
        ],
    )
    def test_a_file_of_another_kind(self, tmp_path, content, reason):
        write(tmp_path, {**arrays(), "t10k-images-idx3-ubyte": content})
        (line,) = failure(tmp_path)
        assert line.startswith("t10k-images-idx3-ubyte: ") and reason in line

    def test_what_memory_cannot_hold_is_told(self, monkeypatch):
        def read(*_):
            raise MemoryError

        monkeypatch.setattr(idx_file, "_read_up_to", read)
        with pytest.raises(ValueError, match="2 x 2 x 2: no memory"):
            read_idx(packed(np.zeros((2, 2, 2), np.uint8)), (3,))

    def test_a_packed_file_is_unpacked_as_far_as_its_header_goes(self):
        bomb = gzip.compress(packed(np.zeros((2, 3, 3))) + bytes(2**26))
        tracemalloc.start()
        with pytest.raises(ValueError, match="18 bytes, but it has more"):
            read_idx(bomb, (3,))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2**22

    def test_a_packed_file_that_asks_for_a_thousand_times_its_size_is_refused(self):
        header = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**10, 2**10, 2**10)
        bomb = gzip.compress(header + bytes(2**26), compresslevel=9)
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"1,073,741,824 bytes, of .* packed .* gunzip"):
            read_idx(bomb, (3,))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2**22

    def test_counts_and_shapes(self, tmp_path):
        given = arrays()
        given["train-labels-idx1-ubyte"] = np.zeros(11)
        given["t10k-images-idx3-ubyte"] = np.zeros((6, 0, 4))
        assert failure(write(tmp_path, given)) == (
            "train: 12 images and 11 labels",
            "t10k: images of 6 x 0 x 4",
        )

    def test_labels(self, tmp_path):
        given = arrays()
        given["train-labels-idx1-ubyte"][5] = 7
        given["t10k-labels-idx1-ubyte"][2] = 8
        assert failure(write(tmp_path, given)) == (
            'class "7" has a single image, and the split needs two',
            'class "8" is in test (1 images), but not in train',
        )
        write(tmp_path, {"classes.txt": b"a\nb\nc"})
        assert failure(tmp_path) == (
            "label 7 is in train (1 images); there are 3 classes",
            "label 8 is in test (1 images); there are 3 classes",
        )

    def test_which_one_is_meant(self, tmp_path):
        given = arrays()
        write(tmp_path, {**given, "train-images.idx3-ubyte": given["train-images-idx3-ubyte"]})
        write(tmp_path, {"test-images-idx3-ubyte": given["t10k-images-idx3-ubyte"]})
        assert failure(tmp_path) == (
            "which one is meant? train-images-idx3-ubyte, train-images.idx3-ubyte",
            "which one is the test split? t10k-* or test-*",
        )

    def test_nothing_there(self, tmp_path):
        assert len(failure(tmp_path)) == 2
        with pytest.raises(UserError, match="no such folder"):
            open_dataset(f"idx:{tmp_path / 'absent'}")
