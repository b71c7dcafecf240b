"""`jaxft prepare`: the data set's content, kills and resumption, refusals."""

import csv
import fcntl
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxft.cli import main
from jaxft.data.images.file import decode
from jaxft.data.images.resize import crop, resize
from jaxft.data.images.sizing import Sizing
from jaxft.data.prepare import duplicates, prepare, shard, tfds_metadata
from jaxft.data.prepare.aside import held, remove
from jaxft.data.prepare.job import Form, Job, read_note
from jaxft.data.prepare.outcome import BAD, DUPLICATES, text
from jaxft.data.prepare.shards import MOST_SHARDS, images_a_shard
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import Interrupted, UserError
from jaxft.runtime import allocator, worker_process
from jaxft.runtime.console import Console

library = pytest.importorskip("tensorflow_datasets")
RAW, JPEG = Form(24, "raw", 90), Form(24, "jpeg", 90)
ODD = (" blanks ", "line\nbreak", "a,b", "ü\"'\\", "Käfer", "a" * 100)


def draw(path, number, width=40, height=30):
    """A smooth image that no other number has, with its number in the first pixel."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_unreadable(root):
    """Two classes of two files that are no images."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            (root / name / f"{number}.png").write_bytes(b"x")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """train/ and valid/ with 2 classes, 150 images; not to be changed."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(150):
        side, name = ("valid" if number % 5 == 0 else "train"), "ab"[number % 2]
        draw(root / side / name / f"{number:03d}.png", number)
    return root


def snapshot(root):
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    """`photos` prepared as raw pixels."""
    output = tmp_path_factory.mktemp("prepared") / "photos"
    before = snapshot(photos)
    prepare.prepare(f"folder:{photos}", str(output), RAW, 2)
    assert snapshot(photos) == before
    return output


def test_plain_tfds_opens_it(prepared, photos):
    builder = library.builder_from_directory(prepared)
    assert builder.info.supervised_keys == ("image", "label")
    assert builder.info.features["label"].names == ["a", "b"]
    found = builder.as_data_source()
    assert {name: len(split) for name, split in found.items()} == {"train": 120, "validation": 30}
    for split in found.values():
        for example in split:
            name = example["image/filename"].decode()
            assert "ab"[example["label"]] == name.split("/")[1]
            expected = resize(decode(photos / name), Sizing(24))
            assert expected.shape == (24, 32, 3)
            assert np.array_equal(example["image"], expected)
    assert not prepared.with_name("photos.partial").exists()


def test_jaxft_opens_it_without_reading_a_record(prepared, photos, monkeypatch):
    from jaxft.data.sources import record_labels, records

    for module in (records, record_labels):
        monkeypatch.setattr(module, "features_of", None)
    data = open_dataset(f"tfds_dir:{prepared}")
    source = open_dataset(f"folder:{photos}")
    assert data.classes == source.classes
    for ours, theirs in ((data.train, source.train), (data.valid, source.valid)):
        assert [str(photos / name) for name in ours.names] == list(theirs.names)
        assert ours.labels.tolist() == theirs.labels.tolist()
    monkeypatch.undo()
    assert np.array_equal(data.valid.read(5), source.valid.read(5, Sizing(24)))
    assert (
        data.valid.read(5, Sizing(24)).base is not None
    )  # the record's own memory: nothing to decode
    for side in (24, 12):
        square = data.valid.read(5, Sizing(side), 0.9)
        np.testing.assert_array_equal(square, crop(data.valid.read(5, Sizing(side)), side, 0.9))
        for fit in ("squash", "pad"):  # of the stored pixels, whose shorter side is 24
            squared = data.valid.read(5, Sizing(side, fit=fit))
            stored = resize(data.valid.read(5), Sizing(side, fit=fit))
            np.testing.assert_array_equal(squared, stored)
            assert squared.shape == (side, side, 3)


def test_jpegs(photos, tmp_path):
    prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), JPEG, 2)
    data, source = open_dataset(f"tfds_dir:{tmp_path / 'out'}"), open_dataset(f"folder:{photos}")
    plain = library.builder_from_directory(tmp_path / "out").as_data_source("validation")
    for index in range(10):
        ours, theirs = data.valid.read(index), source.valid.read(index, Sizing(24))
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).mean() < 3
        assert np.abs(plain[index]["image"].astype(int) - ours).max() <= 2


def test_images_larger_than_allowed_are_listed(tmp_path):
    for number, width in enumerate((40, 41)):
        for name in "ab":
            draw(tmp_path / "in" / name / f"{number}.png", number, width)
    draw(tmp_path / "in" / "b" / "2.png", 2)
    with open(tmp_path / "in" / "b" / "2.png", "ab") as file:
        file.write(bytes(16 * 40 * 30))
    form, source = replace(RAW, max_pixels=40 * 30), f"folder:{tmp_path / 'in'}"
    prepare.prepare(source, str(tmp_path / "out"), form, 1)
    bad = rows(tmp_path / "out" / "bad_files.csv")[1:]
    assert [file[-7:] for file, _ in bad] == ["a/1.png", "b/1.png", "b/2.png"]
    assert all("41 x 30" in reason for _, reason in bad[:2])
    assert "bytes, too large for an image of 1200 pixels" in bad[2][1]
    with pytest.raises(UserError, match="--max-pixels"):
        prepare.prepare(source, str(tmp_path / "more"), replace(RAW, max_pixels=10**9), 1)


def test_quality(photos, tmp_path):
    sizes = []
    for quality in (95, 20):
        records = shard._records(
            job(photos, tmp_path, 4)._replace(form=Form(24, "jpeg", quality)), 0
        )
        sizes.append([len(record[1]) for record in records])
    assert all(worse < better for better, worse in zip(*sizes, strict=True))


def test_the_number_of_workers_changes_nothing(prepared, photos, tmp_path):
    prepare.prepare(f"folder:{photos}", str(tmp_path / "photos"), RAW, 1)
    assert contents(tmp_path / "photos") == contents(prepared)


def test_a_record_does_not_depend_on_the_process_that_makes_it(prepared):
    from array_record.python.array_record_module import ArrayRecordReader
    from tensorflow_datasets.proto import tf_example_pb2

    (file,) = prepared.glob("*validation*")
    found = ArrayRecordReader(str(file)).read_all()
    assert len(found) == 30
    for record in found:
        parsed = tf_example_pb2.Example.FromString(record)
        assert record == parsed.SerializeToString(deterministic=True)


def test_without_a_split_all_is_for_training(photos, tmp_path):
    prepare.prepare(f"folder:{photos / 'train'}", str(tmp_path / "out"), RAW, 1)
    assert list(library.builder_from_directory(tmp_path / "out").info.splits) == ["train"]
    ours = open_dataset(f"tfds_dir:{tmp_path / 'out'}", valid_fraction=0.2, split_seed=3)
    theirs = open_dataset(f"folder:{photos / 'train'}", valid_fraction=0.2, split_seed=3)
    assert [str(photos / "train" / name) for name in ours.valid.names] == list(theirs.valid.names)


def test_a_test_split_stays_one(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "in")
    shutil.copytree(photos / "valid", tmp_path / "in" / "test")
    prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
    data, plain = open_dataset(f"tfds_dir:{tmp_path / 'out'}"), open_dataset(f"folder:{photos}")
    assert len(data.train) == 120 and data.test
    assert data.test.labels.tolist() == plain.valid.labels.tolist()
    assert all(name.startswith("test/") for name in data.test.names)


def test_upright_and_never_enlarged(tmp_path):
    wide = np.zeros((30, 60, 3), np.uint8)
    wide[:, :30] = 255
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        Image.fromarray(wide).save(tmp_path / "in" / name / "turned.jpg", exif=exif, quality=95)
        Image.fromarray(wide[:9, :7]).save(tmp_path / "in" / name / "small.png")
    prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
    found = library.builder_from_directory(tmp_path / "out").as_data_source("train")
    shapes = {e["image/filename"].decode(): e["image"].shape for e in found}
    assert shapes["a/small.png"] == (9, 7, 3) and shapes["a/turned.jpg"] == (48, 24, 3)
    turned = next(e["image"] for e in found if e["image/filename"] == b"a/turned.jpg")
    assert turned[:20].min() > 240 and turned[28:].max() < 15


def test_names_survive(tmp_path):
    for number, name in enumerate(ODD):
        draw(tmp_path / "in" / name / f"{name}.png", number)
        draw(tmp_path / "in" / name / "é 2.png", 100 + number)
    no_utf8 = os.fsdecode(b"\xff\xfe.png")
    draw(tmp_path / "in" / "Käfer" / "plain.png", 200)
    os.rename(tmp_path / "in" / "Käfer" / "plain.png", tmp_path / "in" / "Käfer" / no_utf8)
    shutil.copy(tmp_path / "in" / "Käfer" / no_utf8, tmp_path / "in" / "Käfer" / "same.png")
    prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
    data = open_dataset(f"tfds_dir:{tmp_path / 'out'}")
    assert data.classes == tuple(sorted(ODD))
    assert f"Käfer/{no_utf8}" in data.train.names + data.valid.names
    plain = library.builder_from_directory(tmp_path / "out")
    lines = [tfds_metadata.as_line(name) for name in sorted(ODD)]
    assert plain.info.features["label"].names == lines
    assert [line for line in lines if line not in ODD] == ["' blanks '", r"'line\nbreak'"]
    names = {example["image/filename"] for example in plain.as_data_source("train")}
    assert os.fsencode(f"Käfer/{no_utf8}") in names


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """In a CSV: bad files of each kind, copies of each kind."""
    root = tmp_path_factory.mktemp("bad")
    for number in range(6):
        draw(root / f"{number}.png", number)
    (root / "empty.jpg").write_bytes(b"")
    (root / "page.jpg").write_bytes(b"<html>")
    whole = (root / "0.png").read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    shutil.copy(root / "0.png", root / "0_again.png")
    shutil.copy(root / "1.png", root / "1_other.png")
    shutil.copy(root / "2.png", root / "2_valid.png")
    table = ["file,label,split"]
    table += [f"{n}.png,{'ab'[n % 2]},{'valid' if n > 3 else 'train'}" for n in range(6)]
    table += ["empty.jpg,a,train", "page.jpg,a,valid", "cut.png,b,train", "0_again.png,a,train"]
    table += ["1_other.png,a,train", "2_valid.png,a,valid"]
    (root / "table.csv").write_text("\n".join(table))
    before = snapshot(root)
    found = prepare.prepare(f"csv:{root / 'table.csv'}", str(root / "out"), RAW, 1)
    assert before.items() <= snapshot(root).items()
    return root, found


class TestWhatIsWrongWithTheImages:
    def test_bad_files(self, done):
        root, found = done
        listed = rows(root / "out" / BAD)
        assert listed[0] == ["file", "reason"]
        assert [row[0] for row in listed[1:]] == [
            str(root / name) for name in ("empty.jpg", "cut.png", "page.jpg")
        ]
        assert listed[1][1] == "empty file" and all(reason for _, reason in listed)
        assert found.images == {"train": 6, "validation": 3}
        assert "3 unreadable images" in text(found)
        data = open_dataset(f"tfds_dir:{root / 'out'}")
        assert data.train.names == (
            "0.png",
            "1.png",
            "2.png",
            "3.png",
            "0_again.png",
            "1_other.png",
        )
        assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 0]
        assert data.valid.names == ("4.png", "5.png", "2_valid.png")

    def test_duplicates(self, done):
        root, found = done
        listed = rows(root / "out" / DUPLICATES)
        assert listed[0] == list(duplicates.HEADER)
        assert [[os.path.basename(cell) for cell in row] for row in listed[1:]] == [
            ["0_again.png", "train", "a", "0.png", "train", "a"],
            ["1_other.png", "train", "a", "1.png", "train", "b"],
            ["2_valid.png", "validation", "a", "2.png", "train", "a"],
        ]
        told = text(found)
        assert "2 images of train are copies of others in it" in told
        assert "1 images of validation are also in train" in told
        assert "1 of the copies have another class" in told

    def test_no_image_at_all(self, tmp_path):
        write_unreadable(tmp_path / "in")
        with pytest.raises(UserError, match="no training image") as caught:
            prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
        assert len(caught.value.offenders) == 4
        assert [path.name for path in tmp_path.iterdir()] == ["in"]  # nothing to go on with

    def test_a_shard_without_images(self, tmp_path):
        for number in range(70):
            draw(tmp_path / "in" / "b" / f"{number:02d}.png", number)
            (tmp_path / "in" / "a").mkdir(exist_ok=True)
            (tmp_path / "in" / "a" / f"{number:02d}.png").write_bytes(b"x")
        draw(tmp_path / "in" / "a" / "70.png", 70)
        draw(tmp_path / "in" / "a" / "71.png", 71)
        prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
        plain = library.builder_from_directory(tmp_path / "out")
        assert plain.info.splits["train"].shard_lengths == [0, 58, 14]
        found = plain.as_data_source("train")
        assert [example["label"] for example in found] == [0] * 2 + [1] * 70
        data = open_dataset(f"tfds_dir:{tmp_path / 'out'}", valid_fraction=0.1)
        assert len(data.train) + len(data.valid) == 72
        assert data.train.read(20, Sizing(24)).shape == (24, 32, 3)

    def test_a_class_without_images(self, tmp_path):
        for number in range(4):
            draw(tmp_path / "in" / "ab"[number % 2] / f"{number}.png", number)
        for number in range(2):
            (tmp_path / "in" / "c").mkdir(exist_ok=True)
            (tmp_path / "in" / "c" / f"{number}.png").write_bytes(b"x")
        found = prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
        assert found.empty == ["c"] and 'class "c" has no readable image' in text(found)


class Watching(Console):
    """A console whose progress bar calls a function, given how many images are done."""

    def __init__(self, watch):
        super().__init__(None)
        self._watch = watch

    def bar(self, *args, **kwargs):
        bar = super().bar(*args, **kwargs)
        bar.update = lambda count: self._watch()
        return bar


@pytest.mark.slow
def test_interrupted_and_killed_it_goes_on(photos, prepared, tmp_path, monkeypatch):
    """Ctrl-C, then kill -9, then to the end: the same bytes, and nothing was made twice."""
    output, notes = tmp_path / "photos", tmp_path / "photos.partial" / "notes"

    def interrupt():
        if list(notes.glob("*.json")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(f"folder:{photos}", str(output), RAW, 1, Watching(interrupt))
    assert not output.exists()
    first = {path: path.stat().st_mtime_ns for path in notes.glob("*.json")}
    script = "import sys; from jaxft.cli.main import entry; entry()"
    command = [sys.executable, "-c", script, "prepare", f"--source=folder:{photos}"]
    command += [f"--output={output}", "--shorter-side=24", "--format=raw", "--workers=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and "images in 2 classes" in process.stdout.readline()
        process.kill()
    left = notes / "x.json.17"
    left.write_bytes(b"what a killed worker leaves")
    lines = []
    console = Watching(lambda: None)
    monkeypatch.setattr(console, "say", lambda line: lines.append((line, left.exists())))
    last = {path: path.stat().st_mtime_ns for path in notes.glob("*.json")}
    assert first.items() <= last.items()
    prepare.prepare(f"folder:{photos}", str(output), RAW, 2, console)
    assert any("are already done" in line and not there for line, there in lines)
    assert contents(output) == contents(prepared)


def test_a_finished_shard_is_not_made_again(photos, tmp_path):
    aside = tmp_path / "out.partial"

    def stop():
        if len(list((aside / "notes").glob("*.json"))) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), RAW, 1, Watching(stop))
    damaged = sorted((aside / "data").iterdir())[0]
    with open(damaged, "ab") as file:
        file.write(b"x")
    before = {path.name: path.stat().st_mtime_ns for path in (aside / "data").iterdir()}
    prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), RAW, 1)
    after = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}
    assert {name for name in before if after[name] != before[name]} == {damaged.name}


def test_a_killed_worker_ends_the_call(photos, tmp_path):
    def kill():
        for worker in multiprocessing.active_children():
            worker.kill()

    with pytest.raises(UserError, match="worker process was killed"):
        prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), RAW, 2, Watching(kill))
    assert (tmp_path / "out.partial").exists() and not (tmp_path / "out").exists()


def test_another_call_than_the_one_that_began(photos, tmp_path):
    root = tmp_path / "in"
    shutil.copytree(photos / "train", root)
    output = str(tmp_path / "out")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(f"folder:{root}", output, RAW, 1, Watching(stop))
    draw(root / "a" / "new.png", 999)
    with pytest.raises(UserError) as caught:
        prepare.prepare(f"folder:{root}", output, Form(30, "raw", 90), 1)
    assert caught.value.offenders == (
        "shorter_side: 24 then, 30 now",
        "the source's files have changed",
    )
    assert "rm -r" in caught.value.hint


def test_two_at_once(photos, tmp_path):
    with (
        held(tmp_path / "out.partial"),
        pytest.raises(UserError, match="another process is working"),
    ):
        prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), RAW, 1)


def job(photos, tmp_path, count=20):
    files = tuple(map(str, sorted(photos.rglob("*.png"))[:count]))
    return Job(str(tmp_path / "s"), str(tmp_path / "s.json"), files, files, (0,) * count, 2, RAW)


def test_a_full_disk(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "_shrunk", lambda pixels, side: np.tile(pixels, (9, 9, 1)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"can.t be written: .*File too large"):
            shard.write(job(photos, tmp_path), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_stops_when_told(photos, tmp_path, monkeypatch):
    shared = shard.Shared(multiprocessing.RawArray("q", 2), multiprocessing.RawValue("b", 0))
    monkeypatch.setattr(shard, "_shared", shared)
    shard.write(job(photos, tmp_path), 1)
    assert list(shared.done) == [0, 20]
    shared.stop.value = 1
    (tmp_path / "again").mkdir()
    with pytest.raises(Interrupted):
        shard.write(job(photos, tmp_path / "again"), 0)
    assert list(shared.done) == [0, 20] and list((tmp_path / "again").iterdir()) == []


def test_too_long_for_a_jpeg(tmp_path):
    Image.new("L", (66_000, 2)).save(tmp_path / "long.png")
    long = str(tmp_path / "long.png")
    wanted = Job(str(tmp_path / "s"), str(tmp_path / "s.json"), (long,), ("long",), (0,), 2, JPEG)
    shard.write(wanted, 0)
    note = read_note(wanted)
    assert note and not note.kept and "65535" in note.bad[0]


def test_shards_are_neither_few_nor_many():
    assert [images_a_shard(n) for n in (1, 4096, 20_000, 200_000)] == [64, 64, 313, 2048]
    assert -(-14_000_000 // images_a_shard(14_000_000)) <= MOST_SHARDS


@pytest.mark.parametrize("name", ["photos/1.0.0", "Photos-2!", "1st", "日本"])
def test_the_name_in_tfds(photos, tmp_path, name):
    output = tmp_path / name
    prepare.prepare(f"folder:{photos / 'valid'}", str(output), RAW, 1)
    expected = {"photos/1.0.0": "photos", "Photos-2!": "photos_2", "1st": "images_1st"}
    assert library.builder_from_directory(output).name == expected.get(name, "images")


@pytest.mark.parametrize(
    "source, output, message",
    [
        ("folder:{photos}", "{photos}", "already exists"),
        ("folder:{photos}/valid", "{file}/out", "can't be written: Not a directory"),
        ("folder:{photos}", "{photos}/out", "out is inside the source"),
        ("folder:{photos}", "{photos}/valid/../out", "out is inside the source"),
        ("folder:{photos}", "gs://bucket/out", "array_record files to a disk"),
        ("folder:{photos}/absent", "out", "no such folder"),
        ("digits", "out", "can't be prepared"),
        ("tfds_dir:{photos}", "out", "can't be prepared"),
        ("folder:", "out", "unknown data source"),
    ],
)
def test_what_is_refused(photos, tmp_path, monkeypatch, capsys, source, output, message):
    monkeypatch.chdir(tmp_path)
    places = {"photos": photos, "file": photos / "train" / "a" / "002.png"}
    arguments = [f"--source={source.format(**places)}", f"--output={output.format(**places)}"]
    assert main.main(["prepare", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class TestWhatIsThereAlready:
    """Nothing of the user's goes, whatever it is called."""

    def refused(self, source, output, wanted):
        before = {path: path.read_bytes() for path in output.parent.rglob("*") if path.is_file()}
        with pytest.raises(UserError) as caught:
            prepare.prepare(source, str(output), RAW, 1)
        assert wanted in str(caught.value)
        for path, content in before.items():
            assert path.read_bytes() == content
        assert not output.exists()

    @pytest.mark.parametrize("readable", [True, False])
    def test_the_source_is_called_as_what_is_kept_aside(self, tmp_path, readable):
        for number in range(4):
            file = tmp_path / "out.partial" / "ab"[number % 2] / f"{number}.png"
            draw(file, number)
            if not readable:
                file.write_bytes(b"x")
        overlap = "the source is inside"
        self.refused(f"folder:{tmp_path / 'out.partial'}", tmp_path / "out", overlap)
        table = tmp_path / "photos.csv"
        files = [f"out.partial/{'ab'[i % 2]}/{i}.png,{'ab'[i % 2]}" for i in range(4)]
        table.write_text("\n".join(["file,label", *files]))
        self.refused(f"csv:{table}", tmp_path / "out", overlap)
        (tmp_path / "link").symlink_to(tmp_path / "out.partial")
        self.refused(f"folder:{tmp_path / 'link'}", tmp_path / "out", overlap)

    @pytest.mark.parametrize(
        "name", ["thesis.txt", "data/1.png", "notes/mine.json", "plan.json/x", "lock", "notes"]
    )
    def test_a_folder_of_that_name(self, photos, tmp_path, name):
        mine = tmp_path / "out.partial" / name
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
        self.refused(f"folder:{photos}", tmp_path / "out", f"out.partial/{name.split('/')[0]}")

    def test_files_put_beside_what_a_call_began(self, tmp_path):
        (tmp_path / "out.partial").mkdir()
        with held(tmp_path / "out.partial"):
            (tmp_path / "out.partial" / "thesis.txt").write_text("mine")
            remove(tmp_path / "out.partial")
        assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["thesis.txt"]

    def test_what_a_call_leaves_that_is_killed_before_it_has_a_plan(self, photos, tmp_path):
        for name in ("data", "notes"):
            (tmp_path / "out.partial" / name).mkdir(parents=True)
        for name in ("lock", ".plan.json.abcdefgh"):
            (tmp_path / "out.partial" / name).touch()
        prepare.prepare(f"folder:{photos}", str(tmp_path / "out"), RAW, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_link_to_another_disk(self, tmp_path):
        """It stays, and the reasons are told."""
        write_unreadable(tmp_path / "in")
        (tmp_path / "disk").mkdir()
        (tmp_path / "out.partial").symlink_to(tmp_path / "disk")
        with pytest.raises(UserError, match="no training image can be read"):
            prepare.prepare(f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), RAW, 1)
        assert (tmp_path / "out.partial").is_symlink() and not list((tmp_path / "disk").iterdir())

    @pytest.mark.parametrize("where", ["a", "link"])
    def test_an_output_in_a_class_folder(self, photos, tmp_path, where):
        shutil.copytree(photos / "valid", tmp_path / "in")
        shutil.copytree(photos / "valid" / "a", tmp_path / "elsewhere")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
        output = tmp_path / ("in/a/out" if where == "a" else "elsewhere/out")
        self.refused(f"folder:{tmp_path / 'in'}", output, "out is inside the source")

    def test_a_link_that_leads_to_itself(self, photos, tmp_path):
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(UserError, match="can't be written"):
            prepare.prepare(f"folder:{photos}", str(tmp_path / "loop" / "out"), RAW, 1)

    def test_a_lock_that_its_holder_has_removed(self, tmp_path, monkeypatch):
        aside, flock = tmp_path / "out.partial", fcntl.flock

        def late(*how):
            (aside / "lock").unlink()
            flock(*how)

        monkeypatch.setattr(fcntl, "flock", late)
        with pytest.raises(UserError, match=r"at work|can't be written"), held(aside):
            pass


def test_workers_keep_freed_memory(monkeypatch):
    called = []
    monkeypatch.setattr(allocator, "keep_freed_images", lambda: called.append(True))
    worker_process.obey(())
    assert called


def test_the_command(photos, tmp_path, capsys):
    arguments = [f"--source=folder:{photos}", f"--output={tmp_path / 'out'}"]
    assert main.main(["prepare", *arguments, "--shorter_side=20", "--workers=1"]) == 0
    told = capsys.readouterr().out
    assert "120 images for train and 30 images for validation" in told
    assert f"--config.data.source=tfds_dir:{tmp_path / 'out'}" in told
    assert open_dataset(f"tfds_dir:{tmp_path / 'out'}").train.read(0).shape[0] == 20
    again = [f"--source=folder:{photos}", f"--output={tmp_path / 'small'}", "--max-pixels=9"]
    assert main.main(["prepare", *again]) == 2
    assert "too large for an image of 9 pixels" in capsys.readouterr().err
    for wrong in ("--quality=101", "--shorter-side=0", "--format=png"):
        with pytest.raises(SystemExit):
            main.main(["prepare", *arguments, wrong])
