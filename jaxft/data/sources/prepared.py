"""Data sets that TFDS or `jaxft prepare` has prepared in array_record files, read at random.

The labels of a data set that `jaxft prepare` made are known without reading its records; those of
others are read once, and kept.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxft.data import Dataset, Split
from jaxft.data.sources import catalogue, tfds_features
from jaxft.data.sources.catalogue import Catalogue
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.record_labels import labels_of
from jaxft.data.sources.records import Records
from jaxft.data.sources.sides import TEST_NAMES, TRAIN_NAMES, VALID_NAMES
from jaxft.data.sources.tfds import builder_in, builder_named, described, tensorflow_commands
from jaxft.data.sources.tfds_features import ImageField, LabelField
from jaxft.errors import UserError, unusable_data

SIDES = {"train": TRAIN_NAMES, "valid": VALID_NAMES, "test": TEST_NAMES}


def open_named(name: str, holdout: Holdout) -> Dataset:
    """The prepared data set NAME[/CONFIG][:VERSION] of TFDS's data directory.

    Raises:
      UserError: it is not there; or listing all that is wrong with it.
    """
    return _open(builder_named(name), holdout)


def open_directory(path: str, holdout: Holdout) -> Dataset:
    """The prepared data set in a directory, TFDS's own or one that `jaxft prepare` made.

    Raises:
      UserError: listing all that is wrong with it.
    """
    return _open(builder_in(path), holdout)


def _open(builder: Any, holdout: Holdout) -> Dataset:
    folder = Path(builder.data_dir)
    with described(folder):
        info = _random_access(builder, folder)
        images, labels = tfds_features.candidates(info)
        sides = _sides(info.splits)
        problems = [
            *tfds_features.problems("image", "an image in 8 or 16 bits per colour", images),
            *tfds_features.problems("label", "a ClassLabel that knows its classes", labels),
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
    """TFDS's description, of the array_record files where there are several kinds.

    Raises:
      UserError: there are none.
    """
    from tensorflow_datasets.core import file_adapters

    wanted = file_adapters.FileFormat.ARRAY_RECORD
    if wanted not in builder.info.available_file_formats():
        convert = f"tfds convert_format --dataset_version_dir={folder} --out_file_format="
        raise UserError(
            f"{folder} holds {_kinds(builder.info)} files, but only array_record can be "
            "read at random without TensorFlow",
            hint=tensorflow_commands(convert + wanted.value, "adds it"),
        )
    if builder.info.file_format is not wanted:
        builder.info.set_file_format(wanted, override=True, override_if_initialized=True)
    return builder.info


def _kinds(info: Any) -> str:
    return " and ".join(sorted(kind.value for kind in info.available_file_formats())) or "no known"


def _sides(splits: Any) -> dict[str, Any]:
    """TFDS's descriptions of the splits that train, validate and test, where there are such."""
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
    """The catalogue that `jaxft prepare` left there, where it fits; or None."""
    known = catalogue.read(folder)
    if known is None:
        return None
    counts = {name: len(listing.files) for name, listing in known.splits.items()}
    fits = all(counts.get(split.name) == split.num_examples for split in sides.values())
    return known if fits else None


def _fingerprint(folder: Path, sides: dict[str, Any]) -> str:
    """Digest of a foreign data set's description and of its files' stats, without reading them."""
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
        labels = labels_of(identity, source, label.name, names)
    identities = tuple(f"{identity}:{index}" for index in range(len(names)))
    return Split(names, labels, identities, Records(source, names, image))


def _dataset(
    classes: tuple[str, ...], splits: dict[str, Split], folder: Path, holdout: Holdout
) -> Dataset:
    """Check the labels; make the validation split where there is none."""
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
