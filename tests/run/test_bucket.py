"""Workdir, cache, weights and data in a bucket: real clients against a store on this machine."""

import csv
import io
import itertools
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import tiny_config
from PIL import Image
from places import SUPPORT
from random_weights import normal
from safetensors.numpy import save

import jaxft
from jaxft.cli import main
from jaxft.data.images.file import decode
from jaxft.data.images.loading import load_images
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources import registry
from jaxft.data.sources.files import files_split, image_files
from jaxft.errors import UserError
from jaxft.evaluation import predict
from jaxft.evaluation.evaluate import evaluate
from jaxft.features import cache as features
from jaxft.models.weights import pretrained, torch_names
from jaxft.runtime import digests, paths
from jaxft.training import rate_of_phase
from jaxft.workdir import checkpoint, lease
from jaxft.workdir.rows import append_row, read_object, read_rows

KEYS = ("phase", "cycle", "epoch", "step", "global_step", "trn_loss", "val_loss", "accuracy", "lr")


def upload(store, name, folder, prefix):
    """The files of a folder, as objects whose names begin so."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            inner = file.relative_to(folder).as_posix()
            store.put(name, f"{prefix}/{inner}", file.read_bytes(), {})


def png(shade=0):
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (shade, 0, 0)).save(file, "png")
    return file.getvalue()


class TestPaths:
    def test_a_store_that_is_not_googles_is_refused(self):
        with pytest.raises(
            UserError, match="s3://there/run: the only object store supported is gs://"
        ):
            paths.of("s3://there/run")

    @pytest.mark.parametrize("path", ["gs://", "gs:///run"])
    def test_one_without_a_bucket_is_refused(self, path):
        with pytest.raises(UserError, match=f"^{path} names no bucket"):
            paths.of(path)
        with pytest.raises(UserError, match="cannot be reached") as error:
            paths.demand(path)
        assert error.value.offenders == (f"{path} names no bucket",)

    @pytest.mark.parametrize("workdir", ["gs://", "gs:///run", "gs://there", "gs://there/"])
    def test_a_workdir_is_a_folder_of_a_bucket(self, workdir):
        with pytest.raises(UserError, match=f"^--workdir={workdir} names no folder of a bucket"):
            paths.demand_workdir(workdir)

    def test_what_is_no_scheme_is_a_file(self):
        assert paths.of("a:b/c") == Path("a:b/c") and not paths.is_remote("./gs://there")

    def test_an_object_is_written_whole_or_not_at_all(self, store, new_bucket):
        path = paths.of(f"gs://{new_bucket}/folder/file")

        def half(file):
            file.write(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            paths.write(path, half)
        assert not path.exists()
        large = os.urandom(12_000_000)  # more than goes in one request
        paths.write(path, lambda file: file.write(large))
        assert paths.read(path) == large

    def test_a_file_is_written_whole_or_not_at_all(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"before")

        def half(file):
            file.write(b"half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            paths.write(path, half)
        assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]

    def test_a_file_that_cannot_get_its_name_is_not_left(self, tmp_path):
        (tmp_path / "folder").mkdir()
        with pytest.raises(IsADirectoryError):
            paths.write(tmp_path / "folder", lambda file: file.write(b"x"))
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]

    def test_a_store_that_is_busy_is_asked_again(self, store, new_bucket):
        table = paths.of(f"gs://{new_bucket}/metrics.jsonl")
        append_row(table, {"epoch": 0})
        store.next_statuses += [429]
        append_row(table, {"epoch": 1})
        assert read_rows(table) == [{"epoch": 0}, {"epoch": 1}]

    def test_what_a_store_refuses_is_an_error_as_of_a_disk(self, store, new_bucket):
        path = paths.of(f"gs://{new_bucket}/file")
        with pytest.raises(FileNotFoundError):
            paths.read(path)
        store.next_statuses += [401]
        with pytest.raises(OSError, match="HttpError") as error:
            paths.write(path, lambda file: file.write(b"x"))
        assert error.value.filename == str(path)

    def test_a_new_file_replaces_none(self, store, new_bucket):
        path = paths.of(f"gs://{new_bucket}/table.csv")
        with paths.open_new(path) as file:
            file.write(b"first")
        with pytest.raises(FileExistsError) as error, paths.open_new(path):
            pass
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.value.__traceback__)]
        assert not any(isinstance(v, memoryview) for names in frames for v in names.values())
        assert paths.read(path) == b"first"


class TestTheDoor:
    def test_all_that_cannot_be_reached_is_told_and_how_to_mend_it(self, store, capsys, drawn):
        arguments = [
            "train",
            f"--config={SUPPORT / 'tiny_config.py'}:{drawn}",
            "--config.model.name=resnet18",
            "--workdir=gs://nowhere-of-mine/run",
        ]
        assert main.main(arguments) == 2
        told = capsys.readouterr().err
        assert "gs://nowhere-of-mine/run: NotFound" in told
        assert "gcloud auth application-default login" in told and "Traceback" not in told

    def test_data_that_may_not_be_read(self, store, new_bucket):
        store.next_statuses += [403] * 3
        with pytest.raises(UserError, match="cannot be reached") as error:
            registry.open_dataset(f"folder:gs://{new_bucket}/photos")
        assert "Forbidden" in error.value.offenders[0]
        store.next_statuses.clear()

    def test_without_the_packages_the_error_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(paths, "PACKAGES", ("no_such_package", "no.such.package"))
        with pytest.raises(UserError, match="not installed") as error:
            paths.demand("gs://there/run")
        assert error.value.offenders == ("no_such_package", "no.such.package")
        assert "pip install 'jaxft[gcs]'" in error.value.hint

    def test_a_disk_needs_no_packages(self, monkeypatch, tmp_path):
        monkeypatch.setattr(paths, "PACKAGES", ("no_such_package",))
        paths.demand(tmp_path, "relative", workdir=tmp_path)


class TestData:
    @pytest.fixture(name="photos")
    def _photos(self, tmp_path, store, new_bucket):
        """The same folder here and in the bucket, with everything that does not count."""
        names = ["cat/1.png", "cat/deep/2.png", "cat/3.PNG", "dog/1.png", "dog/2.png"]
        others = [".hidden/1.png", "__MACOSX/1.png", "cat/.4.png", "cat/.x/5.png", "dog/notes.txt"]
        for shade, name in enumerate([*names, *others, "loose.png"]):
            file = tmp_path / "photos" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(shade))
        upload(store, new_bucket, tmp_path / "photos", "photos")
        return tmp_path / "photos", f"gs://{new_bucket}/photos"

    def test_a_folder_is_what_it_would_be_on_a_disk(self, photos):
        here, there = (registry.open_dataset(f"folder:{root}") for root in photos)
        assert here.classes == there.classes == ("cat", "dog")
        assert here.left_out == there.left_out == {".txt": 1}
        for mine, other in ((here.train, there.train), (here.valid, there.valid)):
            inner = [os.path.relpath(name, photos[0]) for name in mine.names]
            assert [name.removeprefix(f"{photos[1]}/") for name in other.names] == inner
            np.testing.assert_array_equal(mine.labels, other.labels)
            for index in range(len(mine)):
                np.testing.assert_array_equal(
                    mine.read(index, Sizing(8)), other.read(index, Sizing(8))
                )

    def test_folders_of_splits_count_too(self, store, new_bucket):
        for side in ("train", "valid"):
            for label in ("cat", "dog"):
                store.put(new_bucket, f"photos/{side}/{label}/1.png", png(), {})
        dataset = registry.open_dataset(f"folder:gs://{new_bucket}/photos/")
        assert dataset.valid.names[0] == f"gs://{new_bucket}/photos/valid/cat/1.png"
        assert (len(dataset.train), len(dataset.valid)) == (2, 2)

    def test_listing_costs_no_request_for_each_file(self, photos, store, new_bucket):
        store.log.clear()
        registry.open_dataset(f"folder:{photos[1]}")
        before = len(store.log)
        for number in range(40):
            store.put(new_bucket, f"photos/cat/more/{number}.png", png(), {})
        store.log.clear()
        assert len(registry.open_dataset(f"folder:{photos[1]}").train) > 25
        assert len(store.log) == before

    def test_long_listings_come_in_pages(self, store, new_bucket, monkeypatch):
        import bucket

        monkeypatch.setattr(bucket, "PAGE", 3)
        for number in range(10):
            store.put(new_bucket, f"photos/{number % 2}/{number}.png", png(), {})
        dataset = registry.open_dataset(f"folder:gs://{new_bucket}/photos")
        assert len(dataset.train) + len(dataset.valid) == 10

    def test_an_image_written_anew_is_another(self, photos, store, new_bucket):
        def identities():
            dataset = registry.open_dataset(f"folder:{photos[1]}")
            return {*dataset.train.identity, *dataset.valid.identity}

        before = identities()
        store.put(new_bucket, "photos/cat/1.png", png(0), {})
        (changed,) = identities() - before
        assert changed.startswith(f"{photos[1]}/cat/1.png:")

    def test_no_class_folder_counts_the_loose_images(self, store, new_bucket):
        store.put(new_bucket, "photos/1.png", png(), {})
        store.put(new_bucket, "photos/__MACOSX/2.png", png(), {})
        with pytest.raises(UserError) as error:
            registry.open_dataset(f"folder:gs://{new_bucket}/photos")
        assert error.value.offenders == (
            f"no class folder in gs://{new_bucket}/photos, "
            "but 1 images outside of any class folder",
        )
        with pytest.raises(UserError, match=r"no such folder: gs://.*/pictures"):
            registry.open_dataset(f"folder:gs://{new_bucket}/pictures")

    def test_a_table_names_files_beside_it_and_anywhere(self, photos, store, new_bucket):
        lines = ["file,label", "photos/cat/1.png,cat", f"{photos[1]}/cat/3.PNG,cat"]
        lines += [f"{photos[0]}/dog/1.png,dog", "photos/dog/2.png,dog"]
        store.put(new_bucket, "table.csv", "\n".join(lines).encode(), {})
        dataset = registry.open_dataset(f"csv:gs://{new_bucket}/table.csv")
        names = {*dataset.train.names, *dataset.valid.names}
        assert f"{photos[1]}/cat/1.png" in names and f"{photos[0]}/dog/1.png" in names
        store.put(new_bucket, "table.csv", b"file,label\na.png,cat\nb/c.png,dog\n", {})
        with pytest.raises(UserError) as error:
            registry.open_dataset(f"csv:gs://{new_bucket}/table.csv")
        assert error.value.offenders[:2] == (
            f"line 2: no such file: gs://{new_bucket}/a.png",
            f"line 3: no such file: gs://{new_bucket}/b/c.png",
        )

    def test_files_to_predict(self, photos):
        files = image_files([photos[1], f"{photos[1]}/dog/1.png"])
        inner = [os.path.relpath(file, photos[0]) for file in image_files([str(photos[0])])]
        assert [file.removeprefix(f"{photos[1]}/") for file in files] == [*inner, "dog/1.png"]
        split = files_split(files)
        assert len(set(split.identity)) == len(inner) and "missing" not in str(split.identity)
        with pytest.raises(UserError) as error:
            image_files([f"{photos[1]}/bird.png"])
        assert error.value.offenders == (f"{photos[1]}/bird.png: not found",)

    def test_unreadable_is_the_image_and_not_the_store(self, store, new_bucket):
        for name, content in (("empty.png", b""), ("text.png", b"no image")):
            store.put(new_bucket, name, content, {})
        for name, why in (
            ("empty.png", "empty file"),
            ("text.png", "not an image"),
            ("gone.png", "no such file"),
        ):
            with pytest.raises(UnreadableImage, match=why):
                decode(f"gs://{new_bucket}/{name}")
        store.next_statuses += [401]
        with pytest.raises(UserError, match="cannot be fetched") as error:
            decode(f"gs://{new_bucket}/text.png")
        assert not isinstance(error.value, UnreadableImage)

    def test_what_was_seen_whole_is_remembered(self, photos, store, new_bucket):
        dataset = registry.open_dataset(f"folder:{photos[1]}")
        cache = f"gs://{new_bucket}/cache"
        for fetched in (5, 0):
            store.log.clear()
            load_images(dataset, Sizing(8), memory_bytes=0, cache_dir=cache)
            assert sum("photos" in address for _, address in store.log) == fetched


def test_features_are_kept_in_parts(store, new_bucket):
    wanted = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    cache = paths.of(f"gs://{new_bucket}/cache/features")

    def cached(mapped=False):
        def compute(first):
            computed.append(first)
            yield from np.split(wanted[first:], range(20, 50 - first, 20))

        computed: list[int] = []
        parts, found = features.cached(cache, "name", 50, compute, mapped)
        np.testing.assert_array_equal(features.whole(parts), wanted)
        assert all(isinstance(part, np.memmap) == mapped for part in parts)
        assert computed == [found] * (found < 50)
        return found

    assert cached() == 0 and cached() == 50 and cached(mapped=True) == 50
    name = "cache/features/name.000000020.npy"
    damaged = bytearray(store.buckets[new_bucket][name].content)
    damaged[-1] ^= 1
    store.put(new_bucket, name, bytes(damaged), {})
    assert cached(mapped=True) == 20
    assert cached() == 50


def test_weights_are_read(store, new_bucket):
    arrays = {
        entry.name: normal(entry.name, entry.shape).astype(np.float32)
        for entry in torch_names.entries("resnet18")
    }
    store.put(new_bucket, "weights.safetensors", save(arrays), {})
    loaded = pretrained.load("resnet18", f"file:gs://{new_bucket}/weights.safetensors")
    assert loaded
    np.testing.assert_array_equal(
        loaded.params["early"]["conv1"]["kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0)
    )
    assert loaded.origin["file"] == "weights.safetensors" and len(loaded.origin["sha256"]) == 64
    with pytest.raises(UserError, match=r"gs://.*/none.pth: cannot be read"):
        pretrained.load("resnet18", f"file:gs://{new_bucket}/none.pth")


def start(store, root, place, data, workdir, *overrides):
    """`jaxft train` of tiny_config in a process of its own, told where to die."""
    import bucket

    environment = {
        **os.environ,
        **bucket.environment(store),
        "XDG_CACHE_HOME": str(root),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "TINY_LEASE_SECONDS": "3",
    }
    config = f"--config={SUPPORT / 'tiny_config.py'}:{data}"
    command = [sys.executable, str(SUPPORT / "tiny_main.py"), place, "train", config]
    return subprocess.run(
        [*command, f"--workdir={workdir}", *overrides],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module", name="far")
def _far(store, drawn, tmp_path_factory):
    """A bucket with the drawn images in `photos` and in `run` a run of them, killed in the middle.

    Every thirtieth request or answer of the second start is lost.

    Returns:
      The bucket's name, and what the second start said.
    """
    name = "the-run-of-tests"
    store.buckets[name] = {}
    upload(store, name, drawn, "photos")
    root = tmp_path_factory.mktemp("far")
    given = (f"gs://{name}/photos", f"gs://{name}/run", f"--config.cache_dir=gs://{name}/cache")
    killed = start(store, root, "step:full:1", *given)
    assert killed.returncode == -9, killed.stderr
    assert f"run/{lease.NAME}" in store.buckets[name]
    store.lost = itertools.cycle(["request", *[""] * 29, "answer", *[""] * 29])
    finished = start(store, root, "none", *given)
    store.lost = iter(())
    assert finished.returncode == 0, finished.stderr
    return name, finished.stdout


@pytest.mark.slow
def test_killed_there_a_run_ends_as_on_a_disk(far, store, drawn, tmp_path):
    name, told = far
    near = start(store, tmp_path / "cache", "none", drawn, tmp_path / "run")
    assert near.returncode == 0, near.stderr
    assert "resuming at step 12" in told
    there = paths.of(f"gs://{name}/run")
    tables = [read_rows(folder / "metrics.jsonl") for folder in (there, tmp_path / "run")]
    assert len(tables[0]) == 7
    mine, wanted = ([{key: row[key] for key in KEYS} for row in table] for table in tables)
    assert mine == wanted
    summaries = [read_object(folder / "summary.json") or {} for folder in (there, tmp_path / "run")]
    for summary in summaries:
        del summary["bottleneck"], summary["saving_seconds"]  # of the seconds
        for timed in (summary, *summary["phases"]):
            del timed["seconds"]
    assert summaries[0] == summaries[1]
    saved, expected = (checkpoint.read_newest(folder) for folder in (there, tmp_path / "run"))
    for item in ("state", "best"):
        assert digests.digest(getattr(saved, item)) == digests.digest(getattr(expected, item))
    starts = read_rows(there / "starts.jsonl")
    assert [row["ended_by"] for row in starts] == ["interrupted", "max_cycles"]
    for picture in ("losses.png", "rates.png"):
        assert paths.read(there / picture) == (tmp_path / "run" / picture).read_bytes()
    assert not (there / lease.NAME).exists()
    compiled = [key for key in store.buckets[name] if key.startswith("cache/xla/")]
    assert compiled and any(key.startswith("cache/features/") for key in store.buckets[name])


@pytest.mark.slow
def test_a_run_there_is_of_use(far, tiny, drawn, new_bucket):
    workdir = f"gs://{far[0]}/run"
    scores = evaluate(workdir).scores
    summary = json.loads(paths.read(paths.of(workdir) / "summary.json"))
    assert scores["accuracy"] == summary["accuracy"]
    output = f"gs://{new_bucket}/table.csv"
    found = predict.predict_files(workdir, [f"gs://{far[0]}/photos/red", str(drawn)], output)
    rows = list(csv.DictReader(io.StringIO(paths.read(paths.of(output)).decode())))
    assert len(rows) == len(found.files) == 14 + 42
    chances = {row["file"].rpartition("/photos/")[2]: row["p_red"] for row in rows[:14]}
    near = {os.path.relpath(row["file"], drawn): row["p_red"] for row in rows[14:]}
    assert chances == {file: near[file] for file in chances}
    with pytest.raises(UserError, match="already exists"):
        predict.predict_files(workdir, [str(drawn)], output)
    assert jaxft.restore(workdir).classes == ("blue", "green", "red")


@pytest.mark.slow
def test_a_rate_is_found_there_from_the_weights_of_a_run_there(far, tiny, new_bucket):
    config = tiny_config.get_config("")
    config.data.source = f"folder:gs://{far[0]}/photos"
    config.init_from = f"gs://{far[0]}/run"
    workdir = f"gs://{new_bucket}/find"
    curve = rate_of_phase.find_rate(config, workdir, "full")
    assert read_object(paths.of(workdir) / "lr_find" / "full.json") == curve
    assert (paths.of(workdir) / "lr_find" / "full.png").exists()


@pytest.mark.slow
def test_a_workdir_that_is_held_is_refused(far, store, drawn, tmp_path):
    held = paths.of(f"gs://{far[0]}/held")
    (held / "config.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "SECONDS", 3.0)
        with checkpoint.lock(held):
            refused = start(store, tmp_path, "none", drawn, held)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"Another process is running in {held}: it is held by process {os.getpid()}" in (
        refused.stderr
    )
