"""The readers of what jaxft does not trust, and good inputs of each to begin with."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import changes
import folders
import numpy as np
import safetensors.numpy
from fuzz import Reader
from hypothesis import strategies as st
from PIL import Image
from places import GOLDEN
from torch_file import saved

from jaxft.cli.config_file import load_config, overridden
from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources.idx_file import read_idx
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError
from jaxft.models.weights.weight_file import read_weights

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# More than Pillow's own marks of a kind of file: other ways to pack the same pixels.
VARIANTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("PNG", "LA", {}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("GIF", "P", {"save_all": True, "append_images": [Image.new("P", (9, 7))]}),
)
VALUES = ("", "0", "-1", "1e400", "9" * 400, "nan", "(" * 200, "[1,", "()", "None", "{}", "a\x1bb")


def _members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {f"archive/{name.partition('/')[2]}": file.read(name) for name in file.namelist()}


def _archive(like: bytes, pickle: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in {**_members(like), "archive/data.pkl": pickle}.items():
            file.writestr(name, content)
    return stream.getvalue()


def _weights(folder: Path, inputs: st.SearchStrategy[bytes]) -> Reader:
    file = folder / "weights"

    def read(content: bytes) -> None:
        file.write_bytes(content)
        for array in read_weights(file).values():
            array.sum(dtype=np.float32)

    return Reader(inputs, read, (UserError,))


def pth(folder: Path) -> Reader:
    """PyTorch's files, in both layouts, and checkpoints of trainers."""
    state = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(2, np.float32)}
    checkpoint = {"epoch": 1, "args": {"lr": np.float64(0.1), "seen": {1, 2}}, "model": state}
    good = [(GOLDEN / f"{name}.pth").read_bytes() for name in ("zip", "legacy", "nested")]
    ways = [(layout, protocol) for layout in ("zip", "legacy") for protocol in (2, 4)]
    files = [*good, *(saved(checkpoint, *way) for way in ways)]
    # In an archive whose checksums are right, too: they would refuse nearly all changes.
    inner = [
        changes.of_bytes([_members(file)["archive/data.pkl"]]).map(partial(_archive, file))
        for file in files
        if file.startswith(b"PK")
    ]
    return _weights(folder, changes.of_bytes(files) | st.one_of(inner))


def safetensors_(folder: Path) -> Reader:
    """Files of safetensors."""
    arrays = {f"a.{kind}": np.ones((2, 3), kind) for kind in ("float32", "float16", "int64")}
    return _weights(folder, changes.of_bytes([safetensors.numpy.save(arrays, {"format": "pt"})]))


def images(folder: Path) -> Reader:
    """Images of nine formats."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    plain, good = Image.fromarray(pixels), []
    for kind, mode, how in [*((kind, "RGB", {}) for kind in FORMATS), *VARIANTS]:
        content = io.BytesIO()
        plain.convert("L" if mode == "I;16" else mode).convert(mode).save(content, kind, **how)
        good.append(content.getvalue())
    sizing = Sizing(8, max_pixels=2**20)
    return Reader(
        changes.of_bytes(good),
        lambda content: decode_bytes(content, "image", sizing),
        (UnreadableImage,),
    )


def idx(folder: Path) -> Reader:
    """Files in MNIST's format, packed and not."""
    plain = struct.pack(">BBBB3I", 0, 0, 8, 3, 4, 3, 2) + bytes(24)
    return Reader(
        changes.of_bytes([plain, gzip.compress(plain), plain[:8] + bytes(4)]),
        lambda content: read_idx(content, (1, 3, 4)),
        (ValueError,),
    )


def csv(folder: Path) -> Reader:
    """Tables of files and labels."""
    for number in range(6):
        (folder / f"{number}.png").write_bytes(b"not read")
    rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(6))
    good = [f"file,label\n{rows}", "file,label,split\n" + rows.replace("\n", ",train\n")]
    table = folder / "table.csv"

    def read(content: bytes) -> None:
        table.write_bytes(content)
        open_dataset(f"csv:{table}")

    return Reader(changes.of_bytes([text.encode() for text in good]), read, (UserError,))


def overrides(folder: Path) -> Reader:
    """Keys of a config and their values, as the command line has them."""
    config = load_config("quickstart")
    keys = [*_keys(as_dict(config)), "phases[9].lr", "phases.full.lr", "x", "data", "phases"]
    words = st.tuples(
        st.sampled_from(keys) | st.text(max_size=9),
        st.sampled_from(("=", "")),
        st.sampled_from(VALUES) | st.text(max_size=9) | st.integers().map(str),
    )

    def read(found: list[tuple[str, str, str]]) -> None:
        given = [f"--config.{''.join(parts)}" for parts in found]
        load.read(overridden(load_config("quickstart"), given))

    return Reader(st.lists(words, min_size=1, max_size=3), read, (UserError,))


def _keys(plain: object, path: str = "") -> list[str]:
    if isinstance(plain, dict):
        return [one for key, value in plain.items() for one in _keys(value, f"{path}.{key}")]
    if isinstance(plain, list | tuple) and plain and isinstance(plain[0], dict):
        return [one for i, value in enumerate(plain) for one in _keys(value, f"{path}[{i}]")]
    return [path.lstrip(".")]


READERS: dict[str, Callable[[Path], Reader]] = {
    "pth": pth,
    "safetensors": safetensors_,
    "images": images,
    "idx": idx,
    "csv": csv,
    "tfds": folders.tfds,
    "overrides": overrides,
    "workdir": folders.workdir,
    "page": folders.run_page,
}
