"""Images that one run was trained on and another validates on."""

import numpy as np
import pytest

from jaxft.data import Dataset, Split, leakage


def split(examples: str, folder: str) -> Split:
    """Split of "1a 2b": examples FOLDER/1 of class a and FOLDER/2 of class b."""
    pairs = examples.split()
    labels = np.array(["abc".index(pair[1]) for pair in pairs], np.int32)
    names = tuple(f"{folder}/{pair[0]}" for pair in pairs)
    return Split(names, labels, names, lambda *_: np.zeros((1, 1, 3), np.uint8))


def dataset(train: str, valid: str, folder: str = "/here/photos", classes: str = "abc") -> Dataset:
    return Dataset(tuple(classes), split(train, folder), split(valid, folder))


@pytest.mark.parametrize(
    "valid, share",
    [("5a", 0), ("1a 5b", 0.25), ("1a 2b 3a 4b", 1), ("1b 2a", 0), ("1a 2a 3a", 0.5)],
)
@pytest.mark.parametrize("folder", ["/here/photos", "elsewhere", "gs://bucket/in/it"])
def test_by_name_and_class(valid, share, folder):
    taken = leakage.sample(dataset("1a 2b 3a 4b", "5a"))
    assert leakage.share_validating(taken, dataset("6a", valid, folder)) == share


def test_classes_count_by_name():
    taken = leakage.sample(dataset("1a 2b", "3a"))
    assert leakage.share_validating(taken, dataset("4a", "1a 2b", classes="xyz")) == 0
    assert leakage.share_validating(taken, dataset("4a", "1b 2c", classes="zab")) == 1


def test_of_many_a_sample_tells_about_all():
    letters = [chr(0x4E00 + number) for number in range(5000)]
    before = dataset(" ".join(f"{letter}a" for letter in letters), "1b")
    taken = leakage.sample(before)
    assert len(taken) == leakage.SAMPLE and taken == sorted(taken)
    now = dataset("1b", " ".join(f"{letter}a" for letter in letters[::4]))
    assert 0.15 < leakage.share_validating(taken, now) < 0.35


def test_a_run_that_left_nothing():
    assert leakage.share_validating([], dataset("1a", "2b")) == 0
