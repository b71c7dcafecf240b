"""Overlap of the images that validate with those that another run was trained on.

A run leaves a sample of its training examples, by their names and classes: those with the smallest
digests. Every run on the same examples leaves the same sample, and a share of the sample estimates
the share of all.
"""

import heapq
from collections.abc import Collection, Iterator
from hashlib import blake2b

from jaxft.data import Dataset, Split

SAMPLE = 256


def sample(dataset: Dataset) -> list[str]:
    """The digests of up to SAMPLE training examples."""
    return heapq.nsmallest(SAMPLE, _digests(dataset, dataset.train))


def share_validating(taken: Collection[str], dataset: Dataset) -> float:
    """The share of a run's sample that validates in another data set, 0 ... 1.

    Names count from the folder that all examples share, wherever it lies.
    """
    validating = set(_digests(dataset, dataset.valid))
    return sum(digest in validating for digest in taken) / max(len(taken), 1)


def _digests(dataset: Dataset, split: Split) -> Iterator[str]:
    names = (*dataset.train.names, *dataset.valid.names)
    first, last = min(names), max(names)
    differ = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = first.rfind("/", 0, differ) + 1
    for name, label in zip(split.names, split.labels, strict=True):
        text = f"{dataset.classes[label]}\n{name[start:]}"
        yield blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
