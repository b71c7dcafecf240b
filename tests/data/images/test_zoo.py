"""The image zoo: every file gives the right pixels or a reason, and no label ever shifts."""

import csv
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zoo
from PIL import Image
from places import ROOT

from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.file import decode
from jaxft.data.images.loading import Leniency, load_images
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError

SIDE = 24
COLOURS = {"blue": (50, 80, 200), "green": (60, 190, 80), "red": (200, 60, 50)}
ANSWERS = """
import json, resource, sys
from jaxft.data.images.file import decode
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answers = {}
for path in sys.argv[1:]:
    for side in (None, 24):
        try:
            answers[path] = list(decode(path, Sizing(side)).shape)
        except UnreadableImage as error:
            answers[path] = error.reason
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([answers, grown / 1024]))
"""


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape and found.dtype == np.uint8
    return float(np.abs(found.astype(int) - wanted.astype(int)).mean())


@pytest.mark.parametrize("specimen", zoo.good(), ids=lambda specimen: ascii(specimen.name))
def test_the_right_pixels(tmp_path, specimen):
    path = tmp_path / specimen.name
    path.write_bytes(specimen.data)
    pixels = decode(path)
    assert off(pixels, specimen.pixels) <= specimen.levels
    np.testing.assert_array_equal(pixels, decode_bytes(specimen.data, "any"))
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    small = decode(path, Sizing(SIDE))
    assert min(small.shape[:2]) == SIDE
    height, width = specimen.pixels.shape[:2]
    if max(height, width) < 8 * min(height, width):
        size = (small.shape[1], small.shape[0])
        wanted = Image.fromarray(specimen.pixels).resize(size, Image.Resampling.BILINEAR)
        assert off(small, np.asarray(wanted)) <= specimen.levels + 0.5
    else:
        assert np.abs(small.astype(int) - specimen.pixels[0, 0]).max() <= 5


@pytest.mark.parametrize("specimen", zoo.bad(), ids=lambda specimen: specimen.name)
@pytest.mark.parametrize("side", [None, SIDE])
def test_a_reason(tmp_path, specimen, side):
    path = tmp_path / specimen.name
    path.write_bytes(specimen.data)
    with pytest.raises(UnreadableImage) as failure:
        decode(path, Sizing(side))
    assert failure.value.name == str(path) and failure.value.reason
    assert str(path) in str(failure.value)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", zoo.truncatable())
def test_cut_anywhere(kind):
    """Nothing is made up for what is missing; only a trailer may be."""
    whole = zoo.truncatable()[kind]
    pixels = decode_bytes(whole, "whole")
    strict = kind in ("jpeg", "progressive")
    for length in range(len(whole)):
        try:
            found = decode_bytes(whole[:length], "cut")
        except UnreadableImage:
            continue
        assert not strict, f"{length} of {len(whole)} bytes pass for the whole"
        np.testing.assert_array_equal(found, pixels, f"{length} of {len(whole)} bytes")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", zoo.truncatable())
def test_a_flipped_bit_anywhere(kind):
    """It is noticed, or hits what no check covers, and then the image has its size all the same."""
    whole = zoo.truncatable()[kind]
    pixels = decode_bytes(whole, "whole")
    random, noticed = np.random.default_rng(1), 0
    for _ in range(200):
        data = bytearray(whole)
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        try:
            found = decode_bytes(bytes(data), "flipped", Sizing(SIDE, max_pixels=10**6))
        except UnreadableImage as error:
            noticed += bool(error.reason)
            continue
        assert found.dtype == np.uint8 and found.shape[2] == 3 and min(found.shape[:2]) == SIDE
        if kind == "png":
            np.testing.assert_array_equal(decode_bytes(bytes(data), "flipped"), pixels)
    assert noticed


def test_the_limit_of_pixels(tmp_path):
    for format in ("png", "jpeg"):
        data = zoo.encoded(zoo.picture(), format)
        with pytest.raises(UnreadableImage, match=r"64 x 48 pixels, the limit is 3071"):
            decode_bytes(data, "a", Sizing(max_pixels=3071))
        assert decode_bytes(data, "a", Sizing(max_pixels=3072)).shape == (48, 64, 3)
    path = tmp_path / "sparse.jpg"
    with open(path, "wb") as file:
        file.truncate(2 * 10**10)
    with pytest.raises(UnreadableImage, match="20000000000 bytes, too large"):
        decode(path)


@contextmanager
def nobody() -> Iterator[None]:
    """No longer root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions")
def test_a_forbidden_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(zoo.encoded(zoo.picture(), "png"))
    path.chmod(0)
    with nobody(), pytest.raises(UnreadableImage, match="permission denied"):
        decode(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_what_is_no_file_does_not_block_and_memory_stays_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the name of a socket may not be long
    Path("folder.jpg").mkdir()
    os.mkfifo("pipe.jpg")
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("nowhere.jpg").symlink_to("absent.jpg")
    Path("zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
    with open("sparse.jpg", "wb") as file:
        file.truncate(2 * 10**10)
    wanted = {
        "folder.jpg": "is a directory",
        "pipe.jpg": "is a device, a pipe or a socket",
        "zero.jpg": "is a device, a pipe or a socket",
        "socket.jpg": "is a device, a pipe or a socket",
        "loop.jpg": "too many levels of symbolic links",
        "nowhere.jpg": "no such file or directory",
    }
    for specimen in (*zoo.good(), *zoo.bad()):
        Path(specimen.name).write_bytes(specimen.data)
    names = sorted(path.name for path in Path().iterdir())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ANSWERS, *names],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers, grown_mb = json.loads(done.stdout)
    assert {name: answers[name] for name in wanted} == wanted
    unreadable = {name for name, answer in answers.items() if isinstance(answer, str)}
    assert unreadable == {*wanted, "sparse.jpg", *(specimen.name for specimen in zoo.bad())}
    assert grown_mb < 50  # one of 20,000 x 20,000 pixels alone would be 1,200 MB


def fill(root: Path) -> tuple[list[Path], list[Path]]:
    """The zoo among plain images of their class's colour: those and the zoo's bad ones."""
    plain, bad = [], []
    for label, (name, colour) in enumerate(COLOURS.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(12):
            plain.append(folder / f"{number:02d}.png")
            Image.new("RGB", (30, 26 + number), colour).save(plain[-1])
            specimen = zoo.bad()[(number + label) % len(zoo.bad())]
            bad.append(folder / f"{number:02d} {specimen.name}")  # right after it in the order
            bad[-1].write_bytes(specimen.data)
        (folder / "loop.jpg").symlink_to("loop.jpg")
        (folder / "round").symlink_to("..", target_is_directory=True)
        bad.append(folder / "loop.jpg")
        if hasattr(os, "mkfifo"):
            os.mkfifo(folder / "pipe.jpg")
    return plain, bad


def states(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Kind, mode, size, time of change and content of all below a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns, content)
    return found


@pytest.mark.parametrize("source", ["folder", "csv"])
def test_no_label_shifts_and_nothing_is_changed(tmp_path, source):
    root = tmp_path / "data"
    plain, bad = fill(root)
    table = tmp_path / "table.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        # A loop is no file; a CSV that names one is refused before anything is decoded.
        rows = [path for path in sorted([*plain, *bad]) if not path.is_symlink()]
        writer.writerows([path.relative_to(tmp_path), path.parent.name] for path in rows)
    named = f"folder:{root}" if source == "folder" else f"csv:{table}"
    if source == "csv":
        bad = [path for path in bad if not path.is_symlink()]
    before = states(tmp_path)
    dataset = open_dataset(named, valid_fraction=0.4)
    with pytest.raises(UserError) as failure:
        load_images(dataset, Sizing(SIDE), memory_bytes=0)
    offenders = failure.value.offenders
    assert len(offenders) == len(bad)
    assert all(
        line.startswith(f"{path}: ") for line, path in zip(offenders, sorted(bad), strict=True)
    )
    said: list[str] = []
    kept, *both = load_images(
        dataset, Sizing(SIDE), leniency=Leniency(True, said.append), memory_bytes=0
    )
    assert f"{len(bad)} unreadable images skipped" in said[0]
    seen = []
    for split, images in zip((kept.train, kept.valid), both, strict=True):
        assert len(split) == len(images) == len(split.labels) == len(split.identity)
        for index, name in enumerate(split.names):
            colour = COLOURS[kept.classes[split.labels[index]]]
            assert (images[index] == colour).all() and Path(name).parent.name in COLOURS
            assert split.identity[index].startswith(f"{name}:")
            seen.append(name)
    assert sorted(seen) == sorted(map(str, plain))
    assert states(tmp_path) == before
