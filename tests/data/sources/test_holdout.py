"""Examples held out for validation: a stratified share, or one fold of several."""

from collections import Counter

import numpy as np
import pytest

from jaxft.data.sources.arrays import array_split
from jaxft.data.sources.holdout import Holdout, stratified_folds, stratified_split
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError


def skewed(count: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).choice(7, count, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])


class TestStratifiedSplit:
    def test_shares_by_class_and_total(self):
        labels = skewed()
        train, valid = stratified_split(labels, 0.3, 0)
        assert len(valid) == 300
        assert sorted([*train, *valid]) == list(range(1000))
        assert (np.diff(train) > 0).all() and (np.diff(valid) > 0).all()
        for label, count in Counter(labels.tolist()).items():
            assert abs((labels[valid] == label).sum() - 0.3 * count) < 1

    def test_every_class_on_either_side(self):
        labels = [0] * 50 + [1] * 2 + [2] * 3
        for fraction in (0.01, 0.3, 0.99):
            for side in stratified_split(labels, fraction, 1):
                assert set(np.asarray(labels)[side]) == {0, 1, 2}

    def test_depends_on_its_seed(self):
        labels = np.arange(100) % 4
        first, again, other = (stratified_split(labels, 0.3, seed)[1] for seed in (5, 5, 6))
        assert (first == again).all() and (first != other).any()

    def test_stays_the_same_for_ever(self):
        """Golden: if this changes, everyone's validation set does, and no result compares."""
        assert stratified_split([0, 1] * 6, 0.3, 42)[1].tolist() == [0, 1, 4, 5]


class TestStratifiedFolds:
    @pytest.mark.parametrize("folds", [2, 5, 7])
    def test_shares_by_class_and_total(self, folds):
        labels = skewed()
        number = stratified_folds(labels, folds, 0)
        assert np.ptp(np.bincount(number, minlength=folds)) <= 1
        for label in range(7):
            assert np.ptp(np.bincount(number[labels == label], minlength=folds)) <= 1

    def test_depends_on_its_seed(self):
        first, again, other = (stratified_folds(skewed(), 5, seed) for seed in (5, 5, 6))
        assert (first == again).all() and (first != other).any()

    def test_stays_the_same_for_ever(self):
        """Golden: if this changes, everyone's folds do, and no result compares."""
        assert stratified_folds([0, 1] * 5, 3, 42).tolist() == [0, 2, 2, 0, 1, 0, 0, 2, 1, 1]


class TestHoldout:
    def test_every_example_validates_in_one_fold(self):
        labels = skewed(60)
        everything = array_split("x", np.zeros((60, 2, 2), np.uint8), labels)
        sides = [Holdout(folds=4, fold=fold).split(everything) for fold in range(4)]
        assert sorted(name for _, valid in sides for name in valid.names) == sorted(
            everything.names
        )
        for train, valid in sides:
            assert {*train.names} == {*everything.names} - {*valid.names}
            assert {*train.labels} == {*labels}

    def test_two_images_of_a_class_suffice(self):
        everything = array_split("x", np.zeros((6, 2, 2), np.uint8), np.array([0, 0, 0, 0, 1, 1]))
        for fold in range(5):
            train, _ = Holdout(folds=5, fold=fold).split(everything)
            assert {*train.labels} == {0, 1}

    def test_more_folds_than_examples(self):
        everything = array_split("x", np.zeros((3, 2, 2), np.uint8), np.array([0, 1, 1]))
        with pytest.raises(UserError, match="more than the 3 examples"):
            Holdout(folds=4).split(everything)

    def test_all_that_is_wrong_in_one_message(self):
        with pytest.raises(UserError) as caught:
            open_dataset("digits", valid_fraction=1, split_seed=-1, folds=3, fold=3)
        assert caught.value.offenders == (
            "data.valid_fraction should be between 0 and 1",
            "data.split_seed should be 0 or more",
            "data.fold should be from 0 to 2",
        )

    @pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": -2}, {"fold": 1}, {"fold": -1}])
    def test_senseless_folds(self, wrong):
        with pytest.raises(UserError, match=r"data\.fold"):
            open_dataset("digits", **wrong)

    def test_a_split_of_its_own_allows_no_folds(self, tmp_path):
        for name in "123":
            (tmp_path / name).touch()
        text = "file,label,split\n1,a,train\n2,b,train\n3,a,valid\n"
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(UserError, match=r"t\.csv has a validation split of its own"):
            open_dataset(f"csv:{tmp_path / 't.csv'}", folds=3)
