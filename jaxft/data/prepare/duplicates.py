"""Images of a data set that are there twice: leaks between its splits, and doubtful classes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

HEADER = ("file", "split", "class", "first_file", "first_split", "first_class")


class Kept(NamedTuple):
    """An image that is in the data set."""

    split: str
    file: str
    name: str
    label: int
    digest: str


class Copy(NamedTuple):
    """An image whose bytes are those of one before it."""

    image: Kept
    first: Kept


def find(images: Iterable[Kept]) -> Iterator[Copy]:
    """Yield every image whose bytes came before, by the digests of their files."""
    first: dict[str, Kept] = {}
    for image in images:
        if image.digest in first:
            yield Copy(image, first[image.digest])
        else:
            first[image.digest] = image


def row(copy: Copy, classes: Sequence[str]) -> tuple[str, ...]:
    """A copy as a row under HEADER."""
    image, first = copy
    return (
        *(image.file, image.split, classes[image.label]),
        *(first.file, first.split, classes[first.label]),
    )


def in_words(copies: Sequence[Copy]) -> Iterator[str]:
    """Report the number of copies, in a line for each pair of splits."""
    pairs = Counter((copy.image.split, copy.first.split) for copy in copies)
    for (split, first), count in pairs.items():
        if split == first:
            yield f"{count:,} images of {split} are copies of others in it"
        else:
            yield f"{count:,} images of {split} are also in {first} (the same bytes)"
    if other := sum(copy.image.label != copy.first.label for copy in copies):
        yield f"{other:,} of the copies have another class than the original"
