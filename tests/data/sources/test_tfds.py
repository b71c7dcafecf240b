"""TFDS's prepared data sets: which features, which splits, the right pixels, no TensorFlow."""

import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from places import ROOT, SUPPORT

from jaxft.data import Dataset
from jaxft.data.images.resize import crop
from jaxft.data.images.sizing import Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources import prepared, record_labels, tfds
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError

library = pytest.importorskip("tensorflow_datasets")
kinds = library.features
CLASSES = ("cat", "dog")


def picture(number, channels=3, height=8, width=6):
    """Pixels that tell which example they are of."""
    pixels = np.zeros((height, width, channels), np.uint8)
    pixels[:] = number + np.arange(channels)
    pixels[0, 0] = 255
    return pixels


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make(folder, features, splits, shards=2, **about):
    """Writes a data set by TFDS's own means; `splits` holds lists of examples by name."""
    from array_record.python import array_record_module
    from tensorflow_datasets.core import example_serializer, naming
    from tensorflow_datasets.core import splits as splits_lib

    folder.mkdir(parents=True)
    features = kinds.FeaturesDict(features)
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    template = naming.ShardedFileTemplate(data_dir=folder)
    infos = []
    for name, examples in splits.items():
        named = template.replace(dataset_name="toy", split=name, filetype_suffix="array_record")
        parts = [examples[i::shards] for i in range(shards)]
        for path, part in zip(named.sharded_filepaths(shards), parts, strict=True):
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            for example in part:
                writer.write(serializer.serialize_example(features.encode_example(example)))
            writer.close()
        infos.append(
            splits_lib.SplitInfo(
                name=name,
                shard_lengths=[len(part) for part in parts],
                num_bytes=1,
                filename_template=template,
            )
        )
    about.setdefault("supervised_keys", None)
    library.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        filename_template=template,
        check_data=False,
        **about,
    )
    return folder


def label():
    return kinds.ClassLabel(names=CLASSES)


def examples(count, first=0):
    return [{"image": png(picture(first + i)), "label": (first + i) % 2} for i in range(count)]


@pytest.fixture
def toy(tmp_path):
    features = {"image": kinds.Image(shape=(None, None, 3)), "label": label()}
    return make(tmp_path / "toy" / "1.0.0", features, {"train": examples(20), "test": examples(4)})


def failure(source):
    with pytest.raises(UserError) as caught:
        open_dataset(source)
    return caught.value


def numbers(split):
    """Number of each example, read from its pixels."""
    return [int(split.read(i)[1, 1, 0]) for i in range(len(split))]


def test_a_description_imports_no_module_of_its_choosing(toy, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = toy / "features.json"
    told = json.loads(file.read_text())
    told["pythonClassName"] = "evil_module.X"
    file.write_text(json.dumps(told))
    assert "evil_module.X, which is not one of TFDS's own" in str(failure(f"tfds_dir:{toy}"))


def test_a_data_set_that_tfds_builds(tmp_path):
    """The usual way: TFDS's own builder makes it, `tfds:NAME` finds it."""
    script = """
        import io, sys
        import numpy as np
        import tensorflow_datasets as tfds
        from PIL import Image

        def png(number):
            file = io.BytesIO()
            Image.fromarray(np.full((8, 6, 3), number, np.uint8)).save(file, "PNG")
            return file.getvalue()

        class Squares(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.2.3")
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="plain")]
            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(8, 6, 3)),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                }))
            def _split_generators(self, manager):
                spans = {"train": (0, 30), "validation": (30, 36)}
                return {name: self._generate_examples(*span) for name, span in spans.items()}
            def _generate_examples(self, start, stop):
                for i in range(start, stop):
                    yield i, {"id": str(i), "image": png(i), "label": i % 2}

        Squares(file_format="array_record").download_and_prepare()

        from jaxft.data.images.sizing import Sizing
        from jaxft.data.sources.registry import open_dataset
        for source in ("tfds:squares/plain", "tfds:squares:1.2.3", "tfds:squares"):
            data = open_dataset(source)
            assert data.classes == ("even", "odd"), data.classes
            for split, expected in ((data.train, range(30)), (data.valid, range(30, 36))):
                seen = [int(split.read(i)[0, 0, 0]) for i in range(len(split))]
                assert sorted(seen) == list(expected)
                assert [number % 2 for number in seen] == split.labels.tolist()
        assert data.train.read(0, Sizing(16)).shape == (21, 16, 3)
        assert "tensorflow" not in sys.modules
    """
    (tmp_path / "squares.py").write_text(textwrap.dedent(script))
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, str(tmp_path / "squares.py")]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("card, classes, valid", [("flowers102", 102, 204), ("pets", 37, 37)])
def test_the_sets_of_the_cards(card, classes, valid, tmp_path):
    """Data sets of TFDS's own builders: two class labels, two images, classes by name or number."""
    script = f"""
        import sys
        from jaxft.cli.config_file import load_config
        from jaxft.config import load
        from jaxft.data.images.sizing import Sizing
        from jaxft.materials import opening
        settings = load.read(load_config("{card}"))
        import tfds_standins
        tfds_standins.prepare(settings.data.source.partition(":")[2], {str(tmp_path)!r})
        data = opening.open_data(settings)
        assert "tensorflow" not in sys.modules
        print(len(data.classes), len(data.train), len(data.valid), len(data.test), data.classes[:2])
        assert data.train.read(0, Sizing(35)).shape in ((35, 42, 3), (42, 35, 3))
    """
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    environment["PYTHONPATH"] = f"{SUPPORT}{os.pathsep}{ROOT}"
    told = subprocess.check_output(command, env=environment, text=True, cwd=tmp_path)
    train = 4 * classes - (0 if card == "flowers102" else valid)
    names = {"flowers102": "('pink primrose', ", "pets": "('Abyssinian', "}
    last = told.splitlines()[-1]
    assert last.startswith(f"{classes} {train} {valid} {classes} {names[card]}"), last


def test_splits_labels_and_pixels(toy):
    data = open_dataset(f"tfds_dir:{toy}", valid_fraction=0.3)
    assert sorted(numbers(data.test)) == [0, 1, 2, 3]
    assert data.classes == CLASSES
    assert (len(data.train), len(data.valid)) == (14, 6)
    assert np.bincount(data.valid.labels).tolist() == [3, 3]
    assert sorted(numbers(data.train) + numbers(data.valid)) == list(range(20))
    for split in (data.train, data.valid):
        assert split.labels.dtype == np.int32
        assert [number % 2 for number in numbers(split)] == split.labels.tolist()
    assert np.array_equal(data.train.read(0), picture(numbers(data.train)[0]))
    assert data.train.read(0, Sizing(12)).shape == (16, 12, 3)
    for side in (6, 12):
        square = data.train.read(0, Sizing(side), 0.9)
        np.testing.assert_array_equal(square, crop(data.train.read(0, Sizing(side)), side, 0.9))
    assert len({*data.train.identity, *data.valid.identity}) == 20
    assert data.train.names[0].startswith("train/")


def test_the_split_of_the_data_set_itself(tmp_path):
    features = {"image": kinds.Image(shape=(None, None, 3)), "label": label()}
    splits = {"Training": examples(6), "valid": [], "val": examples(4, 100)}
    data = open_dataset(f"tfds_dir:{make(tmp_path / 'd', features, splits)}")
    assert sorted(numbers(data.valid)) == [100, 101, 102, 103] and len(data.train) == 6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "shape, encoding",
    [
        ((8, 6), "none"),
        ((None, 6), "none"),
        ((8, 6), "bytes"),
        ((None, None), "bytes"),
        ((None, 6), "zlib"),
    ],
)
def test_arrays_need_no_decoding(tmp_path, shape, encoding, channels):
    features = {
        "pixels": kinds.Tensor(shape=(*shape, channels), dtype=np.uint8, encoding=encoding),
        "label": label(),
    }
    heights = [8 if shape[0] else 8 + i % 3 for i in range(8)]
    pictures = [picture(i, channels, height) for i, height in enumerate(heights)]
    rows = [{"pixels": pixels, "label": i % 2} for i, pixels in enumerate(pictures)]
    splits = {"train": rows, "valid": rows}
    data = open_dataset(f"tfds_dir:{make(tmp_path / 'd', features, splits, shards=1)}")
    for i, pixels in enumerate(pictures):
        expected = np.repeat(pixels, 3, -1) if channels == 1 else pixels
        assert np.array_equal(data.train.read(i), expected)
    assert data.train.read(7, Sizing(3)).shape[1] == 3
    if encoding == "zlib":
        with pytest.raises(UnreadableImage, match="unpacks to more than 18 bytes"):
            data.train.read(7, Sizing(max_pixels=6))
    assert np.array_equal(data.train.read(7, Sizing(6)), data.train.read(7))


FEATURES = {
    "image": kinds.Image(shape=(None, None, 3)),
    "depth": kinds.Image(shape=(None, None, 1), dtype=np.float32, encoding_format="png"),
    "sketch": kinds.Image(shape=(None, None, 1)),
    "coarse": kinds.ClassLabel(names=["x", "y", "z"]),
    "label": kinds.ClassLabel(names=CLASSES),
    "count": np.int64,
}


class TestWhichFeature:
    def make(self, tmp_path, wanted, **about):
        features = {name: FEATURES[name] for name in wanted}
        plain = picture(0)
        values = {"depth": b"", "sketch": png(plain[..., 0]), "count": 3, "coarse": 2}
        rows = [
            {
                name: values.get(name, png(picture(i)) if name == "image" else i % 2)
                for name in wanted
            }
            for i in range(6)
        ]
        splits = {"train": rows, "valid": rows}
        return f"tfds_dir:{make(tmp_path / 'd', features, splits, 1, **about)}"

    def test_the_data_set_says_which(self, tmp_path):
        wanted = ("image", "sketch", "coarse", "label", "count")
        source = self.make(tmp_path, wanted, supervised_keys=("image", "label"))
        data = open_dataset(source)
        assert data.classes == CLASSES and numbers(data.train) == list(range(6))
        assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]

    def test_nobody_says_which(self, tmp_path):
        error = failure(self.make(tmp_path, ("image", "sketch", "coarse", "label")))
        assert [line.split(" Its")[0] for line in error.offenders] == [
            "which feature is the image: image, sketch?",
            "which feature is the label: coarse, label?",
        ]

    def test_there_is_none(self, tmp_path):
        error = failure(self.make(tmp_path, ("count",)))
        assert len(error.offenders) == 2
        assert "an image" in error.offenders[0] and "a ClassLabel" in error.offenders[1]


def test_not_prepared(tmp_path, monkeypatch):
    error = failure("tfds:mnist/nosuch")
    assert error.hint.splitlines()[1:] == [
        "  pip install tensorflow",
        "  tfds build mnist/nosuch --file_format=array_record",
    ]
    assert "Parsing builder name string" in failure("tfds:no name!").title


def change(toy, **changes):
    file = toy / tfds.DESCRIPTION
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_tfrecord_needs_tensorflow_once(toy):
    change(toy, fileFormat="tfrecord")
    error = failure(f"tfds_dir:{toy}")
    assert "holds tfrecord files" in error.title
    assert error.hint.splitlines()[1:] == [
        "  pip install tensorflow",
        f"  tfds convert_format --dataset_version_dir={toy} --out_file_format=array_record",
    ]
    change(toy, alternativeFileFormats=["array_record"])
    assert len(open_dataset(f"tfds_dir:{toy}").train) == 14


@pytest.mark.parametrize("source", ["tfds:mnist", "tfds_dir:x"])
def test_missing_packages(source, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = failure(source)
    assert error.offenders == tfds.PACKAGES and error.hint == "pip install 'jaxft[tfds]'"


def test_what_is_no_data_set(toy, tmp_path):
    assert str(toy) in failure(f"tfds_dir:{toy.parent}").hint
    assert "is missing" in failure(f"tfds_dir:{tmp_path / 'absent'}").title
    assert "from a disk" in failure("tfds_dir:gs://bucket/x").title
    (toy / tfds.DESCRIPTION).write_text("{")
    assert "can't be opened" in failure(f"tfds_dir:{toy}").title


def test_a_description_whose_file_names_make_no_sense(toy):
    file = toy / tfds.DESCRIPTION
    told = json.loads(file.read_text())
    told["splits"][0]["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_XOF_Y}"
    file.write_text(json.dumps(told))
    title = failure(f"tfds_dir:{toy}").title
    assert title.startswith(f"{toy} can't be opened by TFDS: Could not format template")


def test_missing_files_and_splits(toy, tmp_path):
    lost = sorted(toy.glob("*train*"))
    for path in lost:
        path.unlink()
    assert failure(f"tfds_dir:{toy}").offenders == tuple(f"no such file: {p}" for p in lost)
    features = {"image": kinds.Image(shape=(None, None, 3)), "label": label()}
    other = make(tmp_path / "d", features, {"test": examples(2), "extra": examples(2)})
    assert failure(f"tfds_dir:{other}").offenders == ("no split for training (it has extra, test)",)


def test_a_damaged_record_is_named(toy):
    for path in toy.glob("*train*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 3 :] = bytes(len(content) - len(content) // 3)
        path.write_bytes(content)
    with pytest.raises(UnreadableImage, match="train/"):
        numbers(open_dataset(f"tfds_dir:{toy}").train)


def test_labels_are_looked_for_once(toy, monkeypatch):
    first = open_dataset(f"tfds_dir:{toy}")
    with monkeypatch.context() as patch:
        patch.setattr(record_labels, "_read_all", None)
        again = open_dataset(f"tfds_dir:{toy}")
    assert again.train.identity == first.train.identity
    assert again.train.labels.tolist() == first.train.labels.tolist()
    os.utime(next(toy.glob("*train*")), ns=(1, 1))
    asked = []

    def read_all(source, *_):
        asked.append(source)
        return np.zeros(len(source), np.int32)

    monkeypatch.setattr(record_labels, "_read_all", read_all)
    monkeypatch.setattr(
        prepared, "_dataset", lambda _, splits, *more: Dataset((), splits["train"], splits["train"])
    )
    assert open_dataset(f"tfds_dir:{toy}").train.identity != first.train.identity
    assert asked


def test_labels_that_are_not_there(tmp_path):
    features = {"image": kinds.Image(shape=(None, None, 3)), "label": label()}
    rows = [{**row, "label": row["label"] if i > 1 else -1} for i, row in enumerate(examples(5))]
    error = failure(f"tfds_dir:{make(tmp_path / 'd', features, {'train': rows})}")
    assert error.offenders[0] == "2 examples of train have no label"
    alone = [{**row, "label": 0} for row in examples(3)] + examples(1, 1)
    error = failure(f"tfds_dir:{make(tmp_path / 'e', features, {'train': alone})}")
    assert error.offenders == ('class "dog" has a single image, and the split needs two',)
    error = failure(f"tfds_dir:{make(tmp_path / 'f', features, {'train': alone[:3]})}")
    assert error.offenders == ('only one class: "cat"; a classifier needs two',)


def test_a_test_split_without_labels_is_none(tmp_path):
    features = {"image": kinds.Image(shape=(None, None, 3)), "label": label()}
    blind = [{**row, "label": -1} for row in examples(4)]
    splits = {"train": examples(8), "test": blind}
    assert open_dataset(f"tfds_dir:{make(tmp_path / 'd', features, splits)}").test is None


def test_folds(toy):
    folds = [open_dataset(f"tfds_dir:{toy}", folds=4, fold=fold) for fold in range(4)]
    assert sorted(n for data in folds for n in numbers(data.valid)) == list(range(20))


def test_threads_and_other_processes_read_the_same(toy):
    split = open_dataset(f"tfds_dir:{toy}").train
    expected = numbers(split)
    sent = pickle.loads(pickle.dumps(split))
    assert numbers(sent) == expected
    order = np.random.default_rng(0).integers(0, len(split), 400)
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda i: int(split.read(int(i))[1, 1, 0]), order))
    assert seen == [expected[i] for i in order]
