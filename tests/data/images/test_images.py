"""Each image is decoded once, all bad ones are reported together, and memory has a limit."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxft.data import Dataset, Split
from jaxft.data.images.file import decode
from jaxft.data.images.loading import Leniency, load_images
from jaxft.data.images.memory import Images, Memory
from jaxft.data.images.resize import crop
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError

SIDE = 16
SIZE, BICUBIC = Sizing(SIDE), Sizing(SIDE, "bicubic")
SKIPPING = Leniency(skip=True, warn=lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/a", "train/b", "valid/a", "valid/b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def counting(dataset: Dataset) -> tuple[Dataset, Counter[str]]:
    counts: Counter[str] = Counter()

    def counted(split: Split) -> Split:
        def read(index, *how):
            counts[split.names[index]] += 1
            return split.read(index, *how)

        return Split(split.names, split.labels, split.identity, read)

    return dataset.with_splits(counted(dataset.train), counted(dataset.valid)), counts


def opened(folder: Path) -> tuple[Dataset, Counter[str]]:
    return counting(open_dataset(f"folder:{folder}"))


def break_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-500])


def test_each_file_is_decoded_once_when_all_fit(folder):
    dataset, counts = opened(folder)
    calls = []
    same, train, valid = load_images(dataset, SIZE, progress=lambda *call: calls.append(call))
    assert same is dataset and train.in_memory and valid.in_memory
    for images in (train, valid):
        assert len(images) == 8
        for i, name in enumerate(images.split.names):
            np.testing.assert_array_equal(images[i], decode(name, SIZE))
    assert set(counts.values()) == {1} and len(counts) == 16
    assert calls == [(done, 16) for done in range(1, 17)]


def test_memory_has_a_limit(folder):
    dataset, counts = opened(folder)
    one = decode(dataset.train.names[0], SIZE).nbytes
    _, train, valid = load_images(dataset, SIZE, memory_bytes=3 * one + 1, workers=1)
    held = sum(kept is not None for kept in train._kept + valid._kept)
    assert held == 3 and not train.in_memory
    np.testing.assert_array_equal(train[7], decode(dataset.train.names[7], SIZE))
    assert counts[dataset.train.names[7]] == 2 and counts[dataset.train.names[0]] == 1


def test_what_was_seen_whole_is_remembered(folder, tmp_path):
    load_images(opened(folder)[0], SIZE, memory_bytes=0, cache_dir=tmp_path / "cache")
    dataset, counts = opened(folder)
    load_images(dataset, SIZE, memory_bytes=0, cache_dir=tmp_path / "cache")
    assert not counts
    break_files(folder, "train/b/2.png")
    dataset, counts = opened(folder)
    with pytest.raises(UserError, match=r"train/b/2\.png"):
        load_images(dataset, SIZE, memory_bytes=0, cache_dir=tmp_path / "cache")
    assert list(counts) == [str(folder / "train/b/2.png")]


def test_a_damaged_memory_of_what_was_seen_stops_nothing(folder, tmp_path):
    load_images(opened(folder)[0], SIZE, memory_bytes=0, cache_dir=tmp_path)
    with open(tmp_path / "whole_images.txt", "ab") as file:
        file.write(b"\xff\n")
    dataset, counts = opened(folder)
    load_images(dataset, SIZE, memory_bytes=0, cache_dir=tmp_path)
    assert not counts


def test_a_cache_that_cannot_be_written_stops_nothing(folder, tmp_path):
    (tmp_path / "file").touch()
    load_images(opened(folder)[0], SIZE, memory_bytes=0, cache_dir=tmp_path / "file")


def test_all_bad_images_in_one_message(folder):
    break_files(folder, "valid/a/1.png", "train/b/3.png", "train/a/0.png")
    (folder / "train/a/1.png").write_text("<html>")
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    with pytest.raises(UserError) as caught:
        load_images(opened(folder)[0], SIZE)
    error = caught.value
    assert error.title == "4 unreadable images:" and "data.skip_bad=true" in error.hint
    files = [offender.split(": ")[0].removeprefix(f"{folder}/") for offender in error.offenders]
    assert files == ["train/a/0.png", "train/a/1.png", "train/b/3.png", "valid/a/1.png"]
    assert "not an image" in error.offenders[1] and all(": " in line for line in error.offenders)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before


def test_skip_bad_goes_on_without_them(folder):
    break_files(folder, "valid/a/1.png", "train/b/3.png")
    dataset, counts = opened(folder)
    warnings: list[str] = []
    smaller, train, valid = load_images(dataset, SIZE, leniency=Leniency(True, warnings.append))
    assert len(warnings) == 1 and warnings[0].count("\n") == 2
    assert "2 unreadable" in warnings[0] and "train/b/3.png" in warnings[0]
    assert smaller.classes == dataset.classes and train.split is smaller.train
    assert len(smaller.train) == len(train) == 7 and len(smaller.valid) == len(valid) == 7
    for images in (train, valid):
        for i, (name, label) in enumerate(
            zip(images.split.names, images.split.labels, strict=True)
        ):
            assert Path(name).parent.name == smaller.classes[label]
            assert images.split.identity[i].startswith(name)
            np.testing.assert_array_equal(images[i], decode(name, SIZE))
            np.testing.assert_array_equal(images.split.read(i, OWN_SIZE), decode(name))
    assert train.in_memory and max(counts.values()) == 2


def test_skip_bad_warns_on_stderr(folder, capsys):
    break_files(folder, "valid/a/1.png")
    load_images(opened(folder)[0], SIZE, leniency=Leniency(skip=True))
    assert "1 unreadable image skipped" in capsys.readouterr().err


def test_skipping_may_not_empty_a_class(folder):
    break_files(folder, *(f"{side}/b/{i}.png" for side in ("train", "valid") for i in range(4)))
    with pytest.raises(UserError) as caught:
        load_images(opened(folder)[0], SIZE, leniency=SKIPPING)
    assert caught.value.offenders == ("train: b", "valid: b")


def test_a_file_that_vanishes_later_is_named(folder):
    dataset, _ = opened(folder)
    images = Images(dataset.train, SIZE, Memory(0))
    (folder / "train/a/0.png").unlink()
    with pytest.raises(UnreadableImage, match=r"train/a/0\.png: no such file"):
        images[0]


def test_every_image_is_resized_by_the_filter_asked_for(folder):
    dataset, _ = opened(folder)
    _, train, valid = load_images(dataset, BICUBIC, memory_bytes=0)
    for images in (train, valid, train.select(np.array([1, 0]))):
        wanted = decode(images.split.names[0], BICUBIC)
        np.testing.assert_array_equal(images[0], wanted)
        assert (wanted != decode(images.split.names[0], SIZE)).any()


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_a_canvas_is_the_square_of_the_image(folder, memory_bytes):
    split = opened(folder)[0].train
    images = Images(split, BICUBIC, Memory(memory_bytes))
    for index in range(len(images)):
        whole = decode(split.names[index], BICUBIC)
        for share in (0.0, 0.3, 0.5, 0.9):
            found = images.canvas(index, share)
            np.testing.assert_array_equal(found, crop(whole, SIDE, share))
    assert images.in_memory == bool(memory_bytes)


def test_of_what_is_not_kept_no_more_than_the_canvas_is_read(folder):
    split, asked = opened(folder)[0].train, []

    def read(index, *how):
        asked.append(how[1:])
        return split.read(index, *how)

    for memory_bytes in (0, 10**6):
        memory = Memory(memory_bytes)
        Images(Split(split.names, split.labels, split.identity, read), SIZE, memory).canvas(0, 0.25)
    assert asked == [(0.25,), ()]


def test_other_errors_are_not_mistaken_for_bad_files(folder):
    dataset, _ = opened(folder)

    def read(index, *_):
        raise MemoryError

    broken = Split(dataset.train.names, dataset.train.labels, dataset.train.identity, read)
    with pytest.raises(MemoryError):
        load_images(dataset.with_splits(broken, dataset.valid), SIZE, leniency=Leniency(skip=True))


def test_what_goes_to_another_process_reads_in_the_same_way(folder):
    split = open_dataset(f"folder:{folder}").train
    images = Images(split, Sizing(SIDE, "bicubic", 20 * 30), Memory(10**6))
    sent = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(sent[0], images[0])
    assert not sent.in_memory
    for each in (images, sent):
        with pytest.raises(UnreadableImage, match="the limit is 600"):
            each[1]
