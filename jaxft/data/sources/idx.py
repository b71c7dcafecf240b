"""A folder of files in MNIST's format, packed by gzip or not.

    train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte

Gray images have three dimensions [N,H,W]; four [N,H,W,3] are taken for RGB
(train-images-idx4-ubyte). The files themselves: idx_file.py.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxft.data import Dataset, Split
from jaxft.data.sources.arrays import array_split
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.idx_file import in_words, read_idx
from jaxft.errors import UserError, unusable_data
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath

CLASSES_FILE = "classes.txt"
# A data set known by the SHA-256 of its training labels; its files hold no names.
KNOWN_CLASSES = {
    # Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist#labels
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
}


class Examples(NamedTuple):
    """Contents of two files: uint8 pixels [N,H,W] or [N,H,W,3], and labels uint8 [N]."""

    pixels: UInt8[np.ndarray, "examples height width *channels"]
    labels: UInt8[np.ndarray, " examples"]


def open_idx(argument: str, holdout: Holdout) -> Dataset:
    """The data set of a folder; t10k-* (or test-*) is its test split, where it is there.

    The validation split is held out of train, so that the test split chooses nothing. Class names
    are the lines of classes.txt beside the files, the first one for label 0; without it
    Fashion-MNIST's are known, and any other data set's are its numbers.

    Raises:
      UserError: listing all that is wrong with the files.
    """
    folder = paths.of(argument)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    problems: list[str] = []
    train = _examples(folder, "train", problems)
    test = _test(folder, problems)
    names = _names(folder, train, problems)
    if train is not None:
        problems += _label_problems(train, test, names, seen_whole=not problems)
    if problems or train is None:
        raise unusable_data(folder, problems)
    numbers = np.unique(train.labels)
    splits = [_split(side, given, numbers) for side, given in (("train", train), ("test", test))]
    assert splits[0] is not None
    return Dataset(tuple(names[n] for n in numbers), *holdout.split(splits[0]), splits[1])


def _examples(folder: AnyPath, side: str, problems: list[str]) -> Examples | None:
    """Images and labels of a side; None with the reasons added to `problems`."""
    pixels = _array(folder, f"{side}-images", (3, 4), problems)
    labels = _array(folder, f"{side}-labels", (1,), problems)
    if pixels is None or labels is None:
        return None
    wrong = []
    if len(pixels) != len(labels):
        wrong.append(f"{side}: {len(pixels):,} images and {len(labels):,} labels")
    if 0 in pixels.shape or (pixels.ndim == 4 and pixels.shape[3] != 3):
        wrong.append(f"{side}: images of {in_words(pixels.shape)}")
    problems += wrong
    return None if wrong else Examples(pixels, labels)


def _test(folder: AnyPath, problems: list[str]) -> Examples | None:
    present = [
        side
        for side in ("t10k", "test")
        if _files(folder, f"{side}-images") or _files(folder, f"{side}-labels")
    ]
    if len(present) > 1:
        problems.append(f"which one is the test split? {' or '.join(f'{s}-*' for s in present)}")
        return None
    return _examples(folder, present[0], problems) if present else None


def _array(
    folder: AnyPath, stem: str, dimensions: Sequence[int], problems: list[str]
) -> np.ndarray | None:
    files = _files(folder, stem)
    if len(files) > 1:
        problems.append(f"which one is meant? {', '.join(file.name for file in files)}")
        return None
    if not files:
        problems.append(f"no {stem}-idx{dimensions[0]}-ubyte, with or without .gz")
        return None
    try:
        return read_idx(paths.read(files[0]), dimensions)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append(f"{files[0].name}: {reason}")
        return None


def _files(folder: AnyPath, stem: str) -> list[AnyPath]:
    """The files of a stem, in any spelling; of a file and its .gz, the unpacked one."""
    pattern = re.compile(rf"{stem}[-.]idx\d-ubyte(\.gz)?")
    found = {path.name: path for path in folder.iterdir() if pattern.fullmatch(path.name)}
    return [
        found[name]
        for name in sorted(found)
        if not name.endswith(".gz") or name.removesuffix(".gz") not in found
    ]


def _names(folder: AnyPath, train: Examples | None, problems: list[str]) -> tuple[str, ...]:
    """The name of every label from 0 on."""
    file = folder / CLASSES_FILE
    numbers = tuple(map(str, range(256)))
    if not file.is_file():
        digest = "" if train is None else hashlib.sha256(train.labels.tobytes()).hexdigest()
        return KNOWN_CLASSES.get(digest, numbers)
    try:
        names = tuple(map(str.strip, paths.read(file).decode("utf-8-sig").strip().splitlines()))
    except (UnicodeDecodeError, OSError) as error:
        problems.append(f"{CLASSES_FILE}: {error}")
        return numbers
    for name, count in Counter(names).items():
        if count > 1 or not name:
            problems.append(f'{CLASSES_FILE}: "{name}" appears {count} times')
    return names


def _label_problems(
    train: Examples, test: Examples | None, names: Sequence[str], seen_whole: bool
) -> list[str]:
    counts: list[Counter[str]] = []
    problems = []
    for side, given in (("train", train), ("test", test)):
        counted: Counter[str] = Counter()
        for label, count in Counter([] if given is None else given.labels.tolist()).items():
            if label < len(names):
                counted[names[label]] = count
            else:
                problems.append(
                    f"label {label} is in {side} ({count} images); there are {len(names)} classes"
                )
        counts.append(counted)
    return problems + list(class_problems(counts[0], None, counts[1], seen_whole=seen_whole))


def _split(side: str, given: Examples | None, numbers: np.ndarray) -> Split | None:
    """The split of these examples, labels counted among the `numbers` that occur in training."""
    if given is None:
        return None
    # By content, wherever the file is: of the shape too, for the same bytes may be cut otherwise.
    total = hashlib.sha256(repr(given.pixels.shape).encode())
    total.update(np.ascontiguousarray(given.pixels).data)
    digest = total.hexdigest()[:32]
    identity = [f"{digest}:{index}" for index in range(len(given.labels))]
    return array_split(side, given.pixels, np.searchsorted(numbers, given.labels), identity)
