"""Tables that competitions ask for."""

import numpy as np
import pytest

from jaxft.errors import UserError
from jaxft.evaluation import submission

CLASSES = ("cat", "dog", "a=b")
PROBABILITIES = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])


def rows(columns, ids=("10", "9", "a")):
    found = submission.columns_of(columns, CLASSES)
    return [found.head, *submission.rows_of(ids, found, CLASSES, PROBABILITIES)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("id,label", [["id", "label"], ["9", "cat"], ["10", "dog"], ["a", "a=b"]]),
        (
            "image_id, *",
            [
                ["image_id", "cat", "dog", "a=b"],
                ["9", "0.600000", "0.300000", "0.100000"],
                ["10", "0.200000", "0.700000", "0.100000"],
                ["a", "0.100000", "0.100000", "0.800000"],
            ],
        ),
        (
            "id,dog,cat",
            [
                ["id", "dog", "cat"],
                ["9", "0.300000", "0.600000"],
                ["10", "0.700000", "0.200000"],
                ["a", "0.100000", "0.100000"],
            ],
        ),
        ("id,p=dog", [["id", "p"], ["9", "0.300000"], ["10", "0.700000"], ["a", "0.100000"]]),
        (
            "id,a=b,p=a=b",
            [
                ["id", "a=b", "p"],
                ["9", "0.100000", "0.100000"],
                ["10", "0.100000", "0.100000"],
                ["a", "0.800000", "0.800000"],
            ],
        ),
    ],
)
def test_columns(columns, expected):
    assert rows(columns) == expected


@pytest.mark.parametrize("columns", ["id", "", ",label", "id,", "id,cat,,dog"])
def test_columns_without_a_name_are_refused(columns):
    with pytest.raises(UserError, match="id,label"):
        submission.columns_of(columns, CLASSES)


def test_all_that_are_no_classes_are_listed():
    with pytest.raises(UserError) as error:
        submission.columns_of("id,cat,cow,x=pig", CLASSES)
    assert error.value.offenders == ("cow", "pig")
    assert "cat, dog" in error.value.hint


@pytest.mark.parametrize(
    ("kind", "ids"),
    [("name", ["1.jpg", "2.png"]), ("stem", ["1", "2"]), ("path", ["t/1.jpg", "gs://b/2.png"])],
)
def test_ids(kind, ids):
    assert submission.ids_of(["t/1.jpg", "gs://b/2.png"], kind) == ids


def test_images_of_one_id_are_refused():
    with pytest.raises(UserError, match="--id=stem") as error:
        submission.ids_of(["a/1.jpg", "b/1.png", "b/2.png"], "stem")
    assert error.value.offenders == ("1 (2 files)",)


def test_order_is_that_of_people():
    names = ["img10.jpg", "img9.jpg", "1.jpg", "img", "02.jpg", "²", "img9b"]
    assert sorted(names, key=submission.natural) == [
        "1.jpg", "02.jpg", "img", "img9.jpg", "img9b", "img10.jpg", "²"
    ]  # fmt: skip
