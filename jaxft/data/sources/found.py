"""Listed examples, and the data set that they make."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxft.data import Dataset
from jaxft.data.sources.classes import class_problems
from jaxft.data.sources.files import files_split
from jaxft.data.sources.holdout import Holdout
from jaxft.errors import unusable_data


@dataclass(frozen=True)
class Found:
    """Examples that a source lists, before labels are numbered.

    Pairs are (file, class name); `valid` is None where the source makes no split of its own,
    `test` is empty where it has none. `problems` were met on the way; `identity` holds the content
    identities that are known already; `left_out` counts, by suffix, the files that are no images.
    """

    train: list[tuple[str, str]]
    valid: list[tuple[str, str]] | None
    test: list[tuple[str, str]]
    problems: list[str]
    identity: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def dataset_of(found: Found, place: object, holdout: Holdout) -> Dataset:
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


def is_labelled(test: list[tuple[str, str]], train: list[tuple[str, str]]) -> bool:
    """Tell whether a test split can be evaluated: unlabelled images lie in no class of train's."""
    return bool({label for _, label in test} & {label for _, label in train})
