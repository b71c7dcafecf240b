"""Where examples come from: names, labels and splits, checked as far as that goes unread.

Pixels are not touched here: images.load_images does that, and reports what can't be read.
"""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxft.data import Dataset, Split
from jaxft.data.images.decode import decode
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.sources import bucket, idx, tfds
from jaxft.data.sources.arrays import array_split
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.sides import TEST_NAMES, TRAIN_NAMES, VALID_NAMES
from jaxft.data.sources.tree import Tree, is_image_path, open_tree
from jaxft.errors import UserError, unusable_data
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

SUFFIXES_TOLD, LONGEST_SUFFIX = 5, 12


@dataclass(frozen=True)
class Found:
    """What a source lists, before labels are numbered.

    Pairs are (file, class name); `valid` is None where the source makes no split of its own,
    `test` is empty where it has none. `problems` are what was met on the way; `identity` is what
    is known of files already; `left_out` counts, by suffix, the files that are no images.
    """

    train: list[tuple[str, str]]
    valid: list[tuple[str, str]] | None
    test: list[tuple[str, str]]
    problems: list[str]
    identity: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def open_dataset(
    source: str,
    *,
    valid_fraction: float = 0.3,
    split_seed: int = 42,
    folds: int = 0,
    fold: int = 0,
) -> Dataset:
    """Lists a data set and splits it, without decoding an image.

    Args:
      source: "digits" (scikit-learn's), "folder:PATH" (PATH/{train,valid,test}/CLASS/file or
        PATH/CLASS/file), "csv:FILE" (columns file,label[,split], files relative to it),
        "idx:DIR" (MNIST's files, see idx.py), "tfds:NAME[/CONFIG]" or "tfds_dir:PATH" (see
        tfds.py); the PATH of a folder, FILE, the files in it and DIR may be objects of a bucket
        (gs://).
      valid_fraction: share of the examples that validate, where the source has no split.
      split_seed: decides that split, alone: it does not depend on a run's seed.
      folds, fold: instead of a share, fold `fold` (from 0) of `folds` stratified ones validates.

    Returns:
      The splits in a fixed order (by class, then by name; a CSV's and an array's own order);
      classes sorted (those of idx by number).

    Raises:
      UserError: listing all that is wrong with the source.
    """
    holdout = Holdout(valid_fraction, split_seed, folds, fold)
    holdout.check()
    return open_held_out(source, holdout)


def open_held_out(source: str, holdout: Holdout) -> Dataset:
    """As open_dataset, with another way to choose what validates."""
    kind, _, argument = source.partition(":")
    if kind not in SOURCES or (kind == "digits") == bool(argument):
        known = ", ".join(KNOWN)
        raise UserError(f'unknown data source "{source}"', hint=f"known are: {known}")
    if kind not in LOCAL:
        paths.demand(argument)
    try:
        return SOURCES[kind](argument, holdout)
    except OSError as error:
        raise UserError(f"can't read {error.filename}: {error.strerror}") from None


def files_split(
    files: Sequence[str],
    labels: Sequence[int] | None = None,
    identity: Mapping[str, str] | None = None,
) -> Split:
    """A split over image files, in the order given; without labels they are all 0.

    `identity` is what is known of the files already; the others are looked at.
    """
    known = dict(identity or {})
    unknown = [file for file in files if paths.is_remote(file) and file not in known]
    known |= bucket.beside(unknown)
    given = np.zeros(len(files)) if labels is None else labels
    return Split(
        tuple(files),
        np.asarray(given, np.int32),
        tuple(known.get(file) or _identity(file) for file in files),
        partial(_read_file, tuple(files)),
    )


def left_out_in_words(dataset: Dataset) -> str:
    """The line that tells of files beside the images; "" where there are none."""
    count = sum(dataset.left_out.values())
    if not count:
        return ""
    named = dict(dataset.left_out)
    others = named.pop("*", 0)
    most = sorted(named.items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{number} {suffix or 'without suffix'}" for suffix, number in most[:SUFFIXES_TOLD]]
    others += sum(number for _, number in most[SUFFIXES_TOLD:])
    if others:
        words.append(f"{others} of other suffixes")
    return f"left out: {_so_many(count, 'file')} without an image's suffix ({', '.join(words)})"


def image_files(given: Sequence[str]) -> list[str]:
    """Files as given, folders replaced by all image files below them, sorted; for prediction.

    Raises:
      UserError: listing every path that does not exist and every folder without an image.
    """
    files, wrong = [], []
    for path in map(os.path.expanduser, given):
        place = paths.of(path)
        found = list(open_tree(path).images()) if place.is_dir() else [path] * place.exists()
        files.extend(found)
        if not found:
            wrong.append(f"{path}: {'no image in it' if place.is_dir() else 'not found'}")
    if wrong:
        raise UserError("images to read:", wrong)
    return files


def _digits(_: str, holdout: Holdout) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            'the data source "digits" comes with scikit-learn, which is not installed',
            hint="pip install jaxft[quickstart]",
        ) from None
    bunch = load_digits()
    gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in bunch.target_names)
    return Dataset(classes, *holdout.split(array_split("digits", gray, bunch.target)))


def _folder(argument: str, holdout: Holdout) -> Dataset:
    root = open_tree(argument)
    sides = _sides(root)
    if sides is None:
        pairs, problems, others = _class_folders(root)
        found = Found(pairs, None, [], problems, root.identity, others)
        return _dataset(found, root, holdout)
    train = _class_folders(sides.train)
    valid = _class_folders(sides.valid) if sides.valid else None
    test = _class_folders(sides.test) if sides.test else None
    if test and not _labelled(test.pairs, train.pairs):
        test = None
    listed = [folders for folders in (train, valid, test) if folders]
    found = Found(
        train.pairs,
        valid.pairs if valid else None,
        test.pairs if test else [],
        [problem for folders in listed for problem in folders.problems],
        root.identity,
        sum((folders.others for folders in listed), Counter()),
    )
    return _dataset(found, root, holdout)


def _csv(argument: str, holdout: Holdout) -> Dataset:
    table = paths.of(argument)
    if not table.is_file():
        raise UserError(f"no such file: {table}")
    try:
        found = _rows(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise unusable_data(table, [f"not a CSV file in UTF-8: {error}"]) from None
    return _dataset(found, table, holdout)


SOURCES: dict[str, Callable[[str, Holdout], Dataset]] = {
    "digits": _digits,
    "folder": _folder,
    "csv": _csv,
    "idx": idx.open_idx,
    "tfds": tfds.open_named,
    "tfds_dir": tfds.open_directory,
}
KNOWN = ("digits", "folder:PATH", "csv:FILE", "idx:DIR", "tfds:NAME[/CONFIG]", "tfds_dir:PATH")
LOCAL = ("tfds", "tfds_dir")  # whose files can't be in a bucket


def _dataset(found: Found, place: object, holdout: Holdout) -> Dataset:
    """Numbers the labels and makes the split; or reports all that is wrong, together."""
    train_counts, test_counts = _counts(found.train), _counts(found.test)
    valid_counts = None if found.valid is None else _counts(found.valid)
    problems = [
        *found.problems,
        *class_problems(train_counts, valid_counts, test_counts, seen_whole=not found.problems),
    ]
    if problems:
        raise unusable_data(place, problems)
    classes = tuple(sorted(train_counts))
    number = {name: label for label, name in enumerate(classes)}
    train, valid, test = (
        files_split(
            [file for file, _ in pairs], [number[label] for _, label in pairs], found.identity
        )
        for pairs in (found.train, found.valid or [], found.test)
    )
    if found.valid is None:
        train, valid = holdout.split(train)
    else:
        holdout.demand_needed(str(place))
    return Dataset(classes, train, valid, test if found.test else None, found.left_out)


def _counts(pairs: list[tuple[str, str]]) -> Counter[str]:
    return Counter(label for _, label in pairs)


def _labelled(test: list[tuple[str, str]], train: list[tuple[str, str]]) -> bool:
    """Whether a test split is one to evaluate on: unlabelled images lie in no class of train's."""
    return bool({label for _, label in test} & {label for _, label in train})


class Sides(NamedTuple):
    """The folders of the splits."""

    train: Tree
    valid: Tree | None
    test: Tree | None


def _sides(root: Tree) -> Sides | None:
    """The folders of PATH/{train,valid,test}; None where PATH holds the classes themselves.

    A class may itself be called "train": without a validation folder beside it, such a folder
    counts as a split only if it holds folders.

    Raises:
      UserError: listing the folders that would be taken for what they are not, or passed over.
    """
    folders = root.folders()
    train, valid, test = (
        [folder for folder in folders if folder.name.lower() in names]
        for names in (TRAIN_NAMES, VALID_NAMES, TEST_NAMES)
    )
    if not train or not (valid or any(folder.folders() for folder in train)):
        if problems := _splits_as_classes(folders, [*valid, *test]):
            raise unusable_data(root, problems)
        return None
    twice = [folder for side in (train, valid, test) if len(side) > 1 for folder in side]
    problems = [f"which one is meant? {folder}" for folder in twice]
    if not valid:  # it may be there by another name, or the classes may lie beside the split
        known = {str(folder) for folder in (*train, *test)}
        problems += [
            f"{folder} is beside {train[0].name} and no split (known are train, valid, test): "
            f"move it away, or into {train[0].name}"
            for folder in folders
            if str(folder) not in known and _holds_images(folder)
        ]
    if problems:
        raise unusable_data(root, problems)
    return Sides(train[0], valid[0] if valid else None, test[0] if test else None)


def _splits_as_classes(folders: list[Tree], named: list[Tree]) -> list[str]:
    """What is wrong with class folders that are splits; `named` are those with a split's name."""
    splits = [folder for folder in named if _inner_classes(folder)]
    if splits:
        return [
            f"{folder} holds class folders, as a split does: give train/CLASS/... as well"
            for folder in splits
        ]
    # Classes may hold the same folders, too, such as left and right: the name has to tell.
    if len(folders) < 2 or not any("train" in folder.name.lower() for folder in folders):
        return []
    inner = _inner_classes(folders[0])
    if len(inner) < 2 or any(
        folder.loose() or _inner_classes(folder) != inner for folder in folders
    ):
        return []
    names = ", ".join(folder.name for folder in folders)
    return [
        f"each of {names} holds the folders {', '.join(inner)} and no image: which are the "
        "classes? Understood are CLASS/file, and train/CLASS/file with valid/ and test/ beside it"
    ]


def _inner_classes(folder: Tree) -> list[str]:
    """The names of the folders in it that hold images."""
    return [inner.name for inner in folder.folders() if _holds_images(inner)]


def _holds_images(folder: Tree) -> bool:
    return next(folder.images(), None) is not None


class ClassFolders(NamedTuple):
    """(file, class) for every image, what is wrong, and the other files, counted by suffix."""

    pairs: list[tuple[str, str]]
    problems: list[str]
    others: Counter[str]


def _class_folders(root: Tree) -> ClassFolders:
    """What is below root/CLASS."""
    pairs: list[tuple[str, str]] = []
    problems = []
    others = Counter[str]()
    folders = root.folders()
    for folder in folders:
        images: list[str] = []
        rest: list[str] = []
        for file in folder.files():
            (images if is_image_path(file) else rest).append(file)
        pairs.extend((file, _composed(folder.name)) for file in images)
        others.update(map(_suffix, rest))
        if not images:
            beside = f"; it holds {_so_many(len(rest), 'other file')}" if rest else ""
            problems.append(f"no image in class folder {folder}{beside}")
    if not folders:
        problems.append(f"no class folder in {root}{_loose_images(root)}")
    # By composed name, because file systems hand over decomposed ones in another order.
    pairs.sort(key=lambda pair: (pair[1], _composed(pair[0]), pair[0]))
    return ClassFolders(pairs, problems, others)


def _suffix(file: str) -> str:
    """The suffix of a file, "*" in place of one that can't be told in a few letters."""
    suffix = os.path.splitext(file)[1].lower()
    return suffix if suffix.isprintable() and len(suffix) <= LONGEST_SUFFIX else "*"


def _so_many(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _loose_images(root: Tree) -> str:
    count = root.loose()
    return f", but {count} images outside of any class folder" if count else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


class Row(NamedTuple):
    """What a line of a CSV says; `file` is a path, "" where none is named."""

    line: int
    file: str
    label: str
    side: str
    too_long: bool


def _rows(table: AnyPath) -> Found:
    train: list[tuple[str, str]] = []
    valid: list[tuple[str, str]] = []
    test: list[tuple[str, str]] = []
    reader = csv.DictReader(
        io.StringIO(paths.read(table).decode("utf-8-sig"), newline=""), skipinitialspace=True
    )
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if problems := list(_wrong_columns(reader.fieldnames)):
        return Found([], None, [], problems)
    has_split = "split" in reader.fieldnames
    rows = [_row(reader.line_num, cells, table, has_split) for cells in reader]
    known = bucket.beside(row.file for row in rows if paths.is_remote(row.file))
    first_lines = _first_lines(rows)
    for row in rows:
        problems += [f"line {row.line}: {wrong}" for wrong in _wrong(row, known, first_lines)]
        side = test if row.side in TEST_NAMES else valid if row.side in VALID_NAMES else train
        side.append((row.file, row.label))
    if not train and not valid:
        problems.append("no rows")
    test = test if _labelled(test, train) else []
    return Found(train, valid if has_split and valid else None, test, problems, known)


def _wrong_columns(names: Sequence[str]) -> Iterator[str]:
    has = ", ".join(names) or "nothing"
    for name in ("file", "label"):
        if name not in names:
            yield f'no column "{name}" (its first line: {has})'
    for name, count in Counter(names).items():
        if name and count > 1:
            yield f'{count} columns "{name}"'


def _row(line: int, cells: dict[Any, Any], table: AnyPath, has_split: bool) -> Row:
    name = (cells["file"] or "").strip()
    if name and not paths.is_remote(name):
        given = Path(name).expanduser()
        # From Python 3.12 on, a bucket's path joins an absolute one as if it were relative.
        name = str(given if given.is_absolute() else table.parent / given)
    label = _composed((cells["label"] or "").strip())
    side = (cells["split"] or "").strip().lower() if has_split else "train"
    # The reader keeps what is beyond the columns under None.
    return Row(line, name, label, side, None in cells)


def _first_lines(rows: Sequence[Row]) -> dict[int, int]:
    """Of every line whose file was named before, in whatever way: the line that named it first."""
    folder_of = cache(os.path.realpath)  # asks for every part of a path, so once for each folder
    first: dict[str, int] = {}
    again = {}
    for row in rows:
        if row.file:
            line = first.setdefault(_one_name(row.file, folder_of), row.line)
            if line != row.line:
                again[row.line] = line
    return again


def _one_name(file: str, folder_of: Callable[[str], str]) -> str:
    if paths.is_remote(file):
        return file
    folder, name = os.path.split(file)
    path = os.path.join(folder_of(folder), name)
    return os.path.realpath(path) if os.path.islink(path) else path


def _wrong(row: Row, known: Mapping[str, str], first_lines: Mapping[int, int]) -> Iterator[str]:
    if row.too_long:
        yield "more cells than the first line"
    if not row.file:
        yield "no file named"
    elif row.file not in known and (paths.is_remote(row.file) or not os.path.isfile(row.file)):
        yield f"no such file: {row.file}"
    if row.line in first_lines:
        yield f"the file of line {first_lines[row.line]} again: {row.file}"
    if not row.label:
        yield "empty label"
    if row.side not in (*TRAIN_NAMES, *VALID_NAMES, *TEST_NAMES):
        yield f'unknown split "{row.side}" (known are train, valid, test)'


def _identity(file: str) -> str:
    """Path, size and time of change: what a cache may take for "the same file"."""
    if paths.is_remote(file):
        return f"{file}:missing"
    path = os.path.abspath(file)
    try:
        stat = os.stat(path)
    except OSError:
        return f"{path}:missing"
    return f"{path}:{stat.st_size}:{stat.st_mtime_ns}"


def _read_file(
    files: tuple[str, ...], index: int, sizing: Sizing = OWN_SIZE, share: float | None = None
) -> np.ndarray:
    return decode(files[index], sizing, share)
