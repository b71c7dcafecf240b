"""Where examples come from: names, labels and splits, checked as far as that goes unread.

Pixels are not touched here: images.load_images does that, and reports what can't be read.
"""

import csv
import io
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from jaxft import paths
from jaxft.data import Dataset, Split, bucket
from jaxft.data.decode import MAX_PIXELS, decode
from jaxft.data.resize import resize
from jaxft.data.tree import Tree, open_tree
from jaxft.errors import UserError
from jaxft.paths import AnyPath

TRAIN_NAMES = ("train", "training")
VALID_NAMES = ("valid", "val", "validation")
# In a CSV these rows belong to neither split; beside train/ and valid/ such a folder is left alone.
TEST_NAMES = ("test",)


@dataclass(frozen=True)
class Found:
    """What a source lists, before labels are numbered.

    Pairs are (file, class name); `valid` is None where the source makes no split of its own.
    `problems` are what was met on the way; `identity` is what is known of files already.
    """

    train: list[tuple[str, str]]
    valid: list[tuple[str, str]] | None
    problems: list[str]
    identity: Mapping[str, str] = field(default_factory=dict)


def open_dataset(source: str, *, valid_fraction: float = 0.3, split_seed: int = 42) -> Dataset:
    """Lists a data set and splits it, without decoding an image.

    Args:
      source: "digits" (scikit-learn's), "folder:PATH" (PATH/{train,valid}/CLASS/file or
        PATH/CLASS/file) or "csv:FILE" (columns file,label[,split], files relative to it); PATH,
        FILE and the files in it may be objects of a bucket (gs://).
      valid_fraction: share of the examples that validate, where the source has no split.
      split_seed: decides that split, alone: it does not depend on a run's seed.

    Returns:
      Both splits in a fixed order (by class, then by name; a CSV's own order); classes sorted.

    Raises:
      UserError: listing all that is wrong with the source.
    """
    kind, _, argument = source.partition(":")
    if kind not in SOURCES or (kind == "digits") == bool(argument):
        known = ", ".join(("digits", "folder:PATH", "csv:FILE"))
        raise UserError(f'unknown data source "{source}"', hint=f"known are: {known}")
    paths.demand(argument)
    if not 0 < valid_fraction < 1:
        raise UserError(f"data.valid_fraction is {valid_fraction}, and must be between 0 and 1")
    try:
        return SOURCES[kind](argument, valid_fraction, split_seed)
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


def stratified_split(
    labels: Sequence[int] | np.ndarray, valid_fraction: float, split_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the validation examples, both ascending.

    ceil(valid_fraction * n) validate (as scikit-learn counts), shared among the classes by
    largest remainder, with at least one example of every class on either side. Every class
    needs two examples.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    wanted = math.ceil(round(valid_fraction * len(labels), 6))
    exact = counts * wanted / len(labels)
    take = np.floor(exact).astype(int)
    largest = np.argsort(take - exact, kind="stable")[: wanted - take.sum()]
    take[largest] += 1
    take = np.clip(take, 1, counts - 1)
    # Raw words of a counter-based generator: NumPy promises these, not its distributions.
    lots = np.random.Philox(split_seed).random_raw(len(labels))
    valid = np.concatenate(
        [
            members[np.argsort(lots[members], kind="stable")[:count]]
            for members, count in zip(
                (np.flatnonzero(labels == label) for label in classes), take, strict=True
            )
        ]
    )
    valid = np.sort(valid)
    return np.setdiff1d(np.arange(len(labels)), valid), valid


def _digits(_: str, valid_fraction: float, split_seed: int) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            'the data source "digits" comes with scikit-learn, which is not installed',
            hint="pip install jaxft[quickstart]",
        ) from None
    bunch = load_digits()
    gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index}" for index in range(len(gray)))
    everything = Split(names, bunch.target.astype(np.int32), names, partial(_read_gray, gray))
    train, valid = stratified_split(everything.labels, valid_fraction, split_seed)
    classes = tuple(str(digit) for digit in bunch.target_names)
    return Dataset(classes, everything.select(train), everything.select(valid))


def _folder(argument: str, valid_fraction: float, split_seed: int) -> Dataset:
    root = open_tree(argument)
    title = f"{root} can't be used as a data set:"
    sides = _sides(root, title)
    if sides is None:
        pairs, problems = _class_folders(root)
        found = Found(pairs, None, problems, root.identity)
        return _dataset(found, title, valid_fraction, split_seed)
    train, problems = _class_folders(sides[0])
    valid, more = _class_folders(sides[1]) if sides[1] else (None, [])
    found = Found(train, valid, problems + more, root.identity)
    return _dataset(found, title, valid_fraction, split_seed)


def _csv(argument: str, valid_fraction: float, split_seed: int) -> Dataset:
    table = paths.of(argument)
    if not table.is_file():
        raise UserError(f"no such file: {table}")
    title = f"{table} can't be used as a data set:"
    try:
        found = _rows(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(title, [f"not a CSV file in UTF-8: {error}"]) from None
    return _dataset(found, title, valid_fraction, split_seed)


SOURCES: dict[str, Callable[[str, float, int], Dataset]] = {
    "digits": _digits,
    "folder": _folder,
    "csv": _csv,
}


def _dataset(found: Found, title: str, valid_fraction: float, split_seed: int) -> Dataset:
    """Numbers the labels and makes the split; or reports all that is wrong, together."""
    counts = Counter(label for _, label in found.train)
    classes = tuple(sorted(counts))
    problems = [*found.problems, *_class_problems(counts, found)]
    if problems:
        raise UserError(title, problems)
    number = {name: label for label, name in enumerate(classes)}
    train, valid = (
        files_split(
            [file for file, _ in pairs], [number[label] for _, label in pairs], found.identity
        )
        for pairs in (found.train, found.valid or [])
    )
    if found.valid is None:
        everything = train
        kept, held_out = stratified_split(everything.labels, valid_fraction, split_seed)
        train, valid = everything.select(kept), everything.select(held_out)
    return Dataset(classes, train, valid)


def _class_problems(counts: Counter[str], found: Found) -> Iterator[str]:
    if len(counts) == 1 and not found.problems:
        yield f'only one class: "{next(iter(counts))}"; a classifier needs two'
    if not counts and not found.problems:
        yield "no images for training"
    if found.valid is None:
        for name in sorted(name for name, count in counts.items() if count == 1):
            yield f'class "{name}" has a single image, and the split needs two'
        return
    if not found.valid and not found.problems:
        yield "no images for validation"
    for name, count in sorted(Counter(label for _, label in found.valid).items()):
        if name not in counts:
            yield f'class "{name}" is in valid ({count} images), but not in train'


def _sides(root: Tree, title: str) -> tuple[Tree, Tree | None] | None:
    """The folders of PATH/{train,valid}; None where PATH holds the classes themselves.

    A class may itself be called "train": without a validation folder beside it, such a folder
    counts as a split only if it holds folders.
    """
    folders = {folder.name.lower(): folder for folder in root.folders()}
    train = [folders[name] for name in TRAIN_NAMES if name in folders]
    valid = [folders[name] for name in VALID_NAMES if name in folders]
    twice = [str(folder) for side in (train, valid) if len(side) > 1 for folder in side]
    if twice and train and valid:
        raise UserError(title, [f"which one is meant? {path}" for path in twice])
    if not train or not (valid or train[0].folders()):
        return None
    return train[0], valid[0] if valid else None


def _class_folders(root: Tree) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, class) for every image below root/CLASS, and what is wrong there."""
    pairs: list[tuple[str, str]] = []
    problems = []
    folders = root.folders()
    for folder in folders:
        files = list(folder.images())
        pairs.extend((file, _composed(folder.name)) for file in files)
        if not files:
            problems.append(f"no image in class folder {folder}")
    if not folders:
        problems.append(f"no class folder in {root}{_loose_images(root)}")
    # By composed name, because file systems hand over decomposed ones in another order.
    return sorted(pairs, key=lambda pair: (pair[1], _composed(pair[0]), pair[0])), problems


def _loose_images(root: Tree) -> str:
    count = root.loose()
    return f", but {count} images outside of any class folder" if count else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _rows(table: AnyPath) -> Found:
    train: list[tuple[str, str]] = []
    valid: list[tuple[str, str]] = []
    reader = csv.DictReader(
        io.StringIO(paths.read(table).decode("utf-8-sig"), newline=""), skipinitialspace=True
    )
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in ("file", "label") if name not in reader.fieldnames]
    if missing:
        has = ", ".join(reader.fieldnames) or "nothing"
        return Found([], None, [f'no column "{name}" (its first line: {has})' for name in missing])
    has_split = "split" in reader.fieldnames
    rows = [(reader.line_num, _row_file(row, table), row) for row in reader]
    known = bucket.beside(path for _, path, _ in rows if paths.is_remote(path))
    problems: list[str] = []
    for line, path, row in rows:
        word = (row["split"] or "").strip().lower() if has_split else "train"
        label = _composed((row["label"] or "").strip())
        problems += [f"line {line}: {wrong}" for wrong in _wrong(path, label, word, known)]
        if word not in TEST_NAMES:
            (valid if word in VALID_NAMES else train).append((path, label))
    if not train and not valid:
        problems.append("no rows")
    return Found(train, valid if has_split and valid else None, problems, known)


def _row_file(row: dict[str, str], table: AnyPath) -> str:
    name = (row["file"] or "").strip()
    if paths.is_remote(name):
        return name
    return str(table.parent / Path(name).expanduser()) if name else ""


def _wrong(path: str, label: str, word: str, known: Mapping[str, str]) -> Iterator[str]:
    if not path:
        yield "no file named"
    elif path not in known and (paths.is_remote(path) or not os.path.isfile(path)):
        yield f"no such file: {path}"
    if not label:
        yield "empty label"
    if word not in (*TRAIN_NAMES, *VALID_NAMES, *TEST_NAMES):
        yield f'unknown split "{word}" (known are train, valid, test)'


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
    files: tuple[str, ...],
    index: int,
    shorter_side: int | None = None,
    interpolation: str = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    return decode(files[index], shorter_side, max_pixels, interpolation)


def _read_gray(
    gray: np.ndarray,
    index: int,
    shorter_side: int | None = None,
    interpolation: str = "bilinear",
    _: int = MAX_PIXELS,
) -> np.ndarray:
    pixels = np.repeat(gray[index][..., None], 3, axis=-1)
    return pixels if shorter_side is None else resize(pixels, shorter_side, interpolation)
