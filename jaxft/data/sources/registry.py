"""Sources of examples, by their prefixes: names, labels and splits, checked without decoding.

Pixels are not touched here: loading.load_images does that, and reports what can't be read.
"""

from collections import Counter
from collections.abc import Callable

from jaxft.data import Dataset
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.digits import open_digits
from jaxft.data.sources.files import files_split
from jaxft.data.sources.folder import list_folder
from jaxft.data.sources.found import Found
from jaxft.data.sources.holdout import Holdout
from jaxft.data.sources.idx import open_idx
from jaxft.data.sources.place import demand_kind
from jaxft.data.sources.prepared import open_directory, open_named
from jaxft.data.sources.table import list_table
from jaxft.errors import UserError, unusable_data
from jaxft.runtime import paths


def open_dataset(
    source: str,
    *,
    valid_fraction: float = 0.3,
    split_seed: int = 42,
    folds: int = 0,
    fold: int = 0,
) -> Dataset:
    """List a data set and split it, without decoding an image.

    Args:
      source: "digits" (scikit-learn's), "folder:PATH" (PATH/{train,valid,test}/CLASS/file or
        PATH/CLASS/file), "csv:FILE" (columns file,label[,split], files relative to it),
        "idx:DIR" (MNIST's files, see idx.py), "tfds:NAME[/CONFIG]" or "tfds_dir:PATH" (see
        tfds.py); the PATH of a folder, FILE, the files in it and DIR may be objects of a bucket
        (gs://).
      valid_fraction: share of the examples that validate, where the source has no split.
      split_seed: decides that split alone, independent of a run's seed.
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
    """As open_dataset, with another way to choose the examples that validate."""
    demand_kind(source)
    kind, _, argument = source.partition(":")
    if kind not in LOCAL:
        paths.demand(argument)
    try:
        return SOURCES[kind](argument, holdout)
    except OSError as error:
        raise UserError(f"can't read {error.filename}: {error.strerror}") from None


def _folder(argument: str, holdout: Holdout) -> Dataset:
    return _numbered(list_folder(argument), holdout)


def _table(argument: str, holdout: Holdout) -> Dataset:
    return _numbered(list_table(argument), holdout)


SOURCES: dict[str, Callable[[str, Holdout], Dataset]] = {
    "digits": open_digits,
    "folder": _folder,
    "csv": _table,
    "idx": open_idx,
    "tfds": open_named,
    "tfds_dir": open_directory,
}
LOCAL = ("tfds", "tfds_dir")  # whose files can't be in a bucket


def _numbered(found: Found, holdout: Holdout) -> Dataset:
    """Number the labels and make the split.

    Raises:
      UserError: listing all that is wrong.
    """
    train_counts, test_counts = _counts(found.train), _counts(found.test)
    valid_counts = None if found.valid is None else _counts(found.valid)
    problems = [
        *found.problems,
        *class_problems(train_counts, valid_counts, test_counts, seen_whole=not found.problems),
    ]
    if problems:
        raise unusable_data(found.place, problems)
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
        holdout.demand_needed(found.place)
    return Dataset(classes, train, valid, test if found.test else None, found.left_out)


def _counts(pairs: list[tuple[str, str]]) -> Counter[str]:
    return Counter(label for _, label in pairs)
