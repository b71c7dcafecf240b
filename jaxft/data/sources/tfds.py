"""Data sets of TensorFlow Datasets in array_record files, read at random, without TensorFlow.

Labels are known without reading the records where `jaxft prepare` made the data set; for others
they are looked for once, and remembered.
"""

import hashlib
import importlib.util
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxft.data import Dataset, Split
from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.resize import crop, resize
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources import catalogue, fields
from jaxft.data.sources.catalogue import Catalogue
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.fields import ImageField, LabelField
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.sides import TEST_NAMES, TRAIN_NAMES, VALID_NAMES
from jaxft.errors import UserError, unusable_data
from jaxft.runtime import paths
from jaxft.runtime.folders import default_directory

PACKAGES = ("array_record", "tensorflow_datasets")
INSTALL = "pip install 'jaxft[tfds]'"
DESCRIPTION = "dataset_info.json"
RECORDS_AT_ONCE = 256  # of a foreign data set, where labels are looked for in all of it
SIDES = {"train": TRAIN_NAMES, "valid": VALID_NAMES, "test": TEST_NAMES}
UNLABELLED = -1  # what TFDS writes where a label is not known


@dataclass(frozen=True)
class Records:
    """Reads the images of one split; may go to another process, and be used by many threads.

    Attributes:
      source: index -> the bytes of a record.
      names: what to call each to a person.
    """

    source: Any
    names: tuple[str, ...]
    image: ImageField

    def __call__(
        self, index: int, sizing: Sizing = OWN_SIZE, share: float | None = None
    ) -> np.ndarray:
        """As data.Split.read."""
        name = self.names[index]
        features = _features(self.source, index, name)
        try:
            if self.image.encoding == "file":
                data = features[self.image.name].bytes_list.value[0]
                return decode_bytes(data, name, sizing, share)
            pixels = self.image.pixels(features)
        except (IndexError, ValueError, zlib.error) as error:
            raise UnreadableImage(name, f"no image in its record: {error}") from None
        side = min(pixels.shape[:2])
        if side == sizing.shorter_side:
            return pixels if share is None else crop(pixels, side, share)
        return resize(pixels, sizing, share)


def _features(source: Any, index: int, name: str) -> Any:
    """The features of a record by name.

    Raises:
      UnreadableImage: it is damaged, which array_record's own checksums tell.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return tf_example_pb2.Example.FromString(source[index]).features.feature
    except (RuntimeError, OSError, ValueError) as error:
        raise UnreadableImage(name, " ".join(str(error).split())) from None


def demand_packages(what: str) -> None:
    """Raises UserError where what this room needs is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs packages that are not installed:", missing, INSTALL)


def open_named(name: str, holdout: Holdout) -> Dataset:
    """The prepared data set NAME[/CONFIG][:VERSION] of TFDS's data directory.

    Raises:
      UserError: it is not there in array_record files, with the commands that bring it; or as
        open_directory raises.
    """
    demand_packages(f"tfds:{name}")
    from tensorflow_datasets.core import read_only_builder, registered
    from tensorflow_datasets.core.utils import file_utils

    try:
        builder = read_only_builder.builder_from_files(name)
    except registered.DatasetNotFoundError:
        where = ", ".join(str(path) for path in file_utils.list_data_dirs())
        raise UserError(
            f"no prepared data set {name} in {where}",
            hint=_commands(f"tfds build {name} --file_format=array_record", "builds it"),
        ) from None
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds:{name}: {_first_line(error)}") from None
    return _open(builder, holdout)


def open_directory(path: str, holdout: Holdout) -> Dataset:
    """The prepared data set in a directory, TFDS's own or one that `jaxft prepare` made.

    Raises:
      UserError: listing all that is wrong with it.
    """
    demand_packages(f"tfds_dir:{path}")
    from tensorflow_datasets.core import read_only_builder

    if paths.is_remote(path):
        raise UserError(f"{path}: array_record files are read from a disk; copy them to one")
    folder = Path(path).expanduser()
    if not (folder / DESCRIPTION).is_file():
        versions = sorted(str(file.parent) for file in folder.glob(f"*/{DESCRIPTION}"))
        versions += sorted(str(file.parent) for file in folder.glob(f"*/*/{DESCRIPTION}"))
        hint = f"There is one in {', '.join(versions)}." if versions else ""
        raise UserError(f"no data set of TFDS in {folder}: {DESCRIPTION} is missing", hint=hint)
    try:
        builder = read_only_builder.builder_from_directory(folder)
    except Exception as error:  # json, protobuf and TFDS each have their own
        raise UserError(f"{folder} can't be opened by TFDS: {_first_line(error)}") from None
    return _open(builder, holdout)


def _open(builder: Any, holdout: Holdout) -> Dataset:
    folder = Path(builder.data_dir)
    info = _random_access(builder, folder)
    images, labels = fields.candidates(info)
    sides = _sides(info.splits)
    problems = [
        *fields.problems("image", "an image in 8 or 16 bits a colour", images),
        *fields.problems("label", "a ClassLabel that knows its classes", labels),
        *_split_problems(sides, info.splits),
    ]
    if problems:
        raise unusable_data(folder, problems)
    label, known = labels[0], _catalogue(folder, sides)
    classes = known.classes if known else label.classes
    fingerprint = known.digest if known else _fingerprint(folder, sides)
    splits = {
        side: _split(split, f"{fingerprint}:{split.name}", images[0], label, known)
        for side, split in sides.items()
    }
    return _dataset(classes, splits, folder, holdout)


def _random_access(builder: Any, folder: Path) -> Any:
    """TFDS's description, told to name array_record files where there are several kinds.

    Raises:
      UserError: there are none.
    """
    from tensorflow_datasets.core import file_adapters

    wanted = file_adapters.FileFormat.ARRAY_RECORD
    if wanted not in builder.info.available_file_formats():
        convert = f"tfds convert_format --dataset_version_dir={folder} --out_file_format="
        raise UserError(
            f"{folder} holds {_kinds(builder.info)} files, and only array_record can be "
            "read at random without TensorFlow",
            hint=_commands(convert + wanted.value, "adds it"),
        )
    if builder.info.file_format is not wanted:
        builder.info.set_file_format(wanted, override=True, override_if_initialized=True)
    return builder.info


def _kinds(info: Any) -> str:
    return " and ".join(sorted(kind.value for kind in info.available_file_formats())) or "no known"


def _commands(command: str, does: str) -> str:
    return f"TensorFlow {does}, once:\n  pip install tensorflow\n  {command}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _sides(splits: Any) -> dict[str, Any]:
    """TFDS's description of the splits that train, validate and test; of those that there are."""
    named = {name.lower(): split for name, split in splits.items() if split.num_examples}
    found = {side: [named[n] for n in names if n in named] for side, names in SIDES.items()}
    return {side: ours[0] for side, ours in found.items() if ours}


def _split_problems(sides: dict[str, Any], splits: Any) -> Iterator[str]:
    if "train" not in sides:
        yield f"no split for training (it has {', '.join(sorted(splits)) or 'none'})"
    for split in sides.values():
        missing = [path for path in map(Path, split.filepaths) if not path.is_file()]
        yield from (f"no such file: {path}" for path in missing)


def _catalogue(folder: Path, sides: dict[str, Any]) -> Catalogue | None:
    """What `jaxft prepare` left there, where it fits."""
    known = catalogue.read(folder)
    if known is None:
        return None
    counts = {name: len(listing.files) for name, listing in known.splits.items()}
    fits = all(counts.get(split.name) == split.num_examples for split in sides.values())
    return known if fits else None


def _fingerprint(folder: Path, sides: dict[str, Any]) -> str:
    """What is known of a foreign data set's content unread: its description, its files' stats."""
    described = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.json"))
    ]
    files = sorted(path for split in sides.values() for path in map(Path, split.filepaths))
    stats = [(path.name, path.stat()) for path in files]
    lines = [f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats]
    return catalogue.digest([*described, *lines])


def _split(
    split: Any, identity: str, image: ImageField, label: LabelField, known: Catalogue | None
) -> Split:
    from array_record.python import array_record_data_source

    source = array_record_data_source.ArrayRecordDataSource(split.file_instructions)
    if known:
        names, labels = known.splits[split.name]
    else:
        names = tuple(f"{split.name}/{index}" for index in range(len(source)))
        labels = _remembered(identity, lambda: _labels(source, label.name, names))
    identities = tuple(f"{identity}:{index}" for index in range(len(names)))
    return Split(names, labels, identities, Records(source, names, image))


def _remembered(identity: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that the user's cache directory keeps; a cache that fails costs only time."""
    place = default_directory() / "labels" / f"{catalogue.digest([identity])}.npy"
    with suppress(OSError, ValueError, EOFError):
        return np.load(place, allow_pickle=False)
    found = compute()
    with suppress(OSError):
        paths.make_folder(place.parent)
        paths.write(place, lambda file: np.save(file, found), durable=False)
    return found


def _labels(source: Any, label: str, names: Sequence[str]) -> np.ndarray:
    """The label of every record, int32 [N]; reads all of them."""
    from jaxft.runtime.process import cores

    def some(start: int) -> list[int]:
        indices = range(start, min(start + RECORDS_AT_ONCE, len(names)))
        found = (_features(source, index, names[index]) for index in indices)
        return [(features[label].int64_list.value or [UNLABELLED])[0] for features in found]

    starts = range(0, len(names), RECORDS_AT_ONCE)
    with ThreadPoolExecutor(cores(), "labels") as pool:
        parts = tqdm(pool.map(some, starts), "labels", len(starts), leave=False, disable=None)
        try:
            return np.asarray([number for part in parts for number in part], np.int32)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _dataset(
    classes: tuple[str, ...], splits: dict[str, Split], folder: Path, holdout: Holdout
) -> Dataset:
    """Checks the labels; makes the validation split where there is none."""
    test = splits.pop("test", None)
    if test is not None and _unlabelled(test, classes):
        test = None  # one for a competition: there is nothing to evaluate
    counts = {side: _counts(split, classes) for side, split in splits.items()}
    problems = [
        f"{wrong} examples of {side} have no label"
        for side, split in splits.items()
        if (wrong := _unlabelled(split, classes))
    ]
    in_test = _counts(test, classes) if test else Counter[str]()
    problems += class_problems(counts["train"], counts.get("valid"), in_test)
    if problems:
        raise unusable_data(folder, problems)
    if "valid" in splits:
        holdout.demand_needed(str(folder))
        return Dataset(classes, splits["train"], splits["valid"], test)
    return Dataset(classes, *holdout.split(splits["train"]), test)


def _unlabelled(split: Split, classes: tuple[str, ...]) -> int:
    return int(((split.labels < 0) | (split.labels >= len(classes))).sum())


def _counts(split: Split, classes: tuple[str, ...]) -> Counter[str]:
    labels = split.labels.tolist()
    return Counter(classes[label] for label in labels if 0 <= label < len(classes))
