"""Files beside the images, which are left out."""

import os

from jaxft.data import Dataset
from jaxft.data.images import heif

SUFFIXES_TOLD, LONGEST_SUFFIX = 5, 12


def left_out_in_words(dataset: Dataset) -> str:
    """Report the files beside the images in a line; "" where there are none."""
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
    lacking = heif.in_words(dataset.left_out)
    end = f", among them {lacking}" if lacking else ""
    return f"left out: {counted(count, 'file')} without an image's suffix ({', '.join(words)}){end}"


def suffix_of(file: str) -> str:
    """Suffix of a file, "*" for one that can't be told in a few letters."""
    suffix = os.path.splitext(file)[1].lower()
    return suffix if suffix.isprintable() and len(suffix) <= LONGEST_SUFFIX else "*"


def counted(number: int, what: str) -> str:
    """A number with its noun, in the plural where it takes one."""
    return f"{number} {what}{'s' if number != 1 else ''}"
