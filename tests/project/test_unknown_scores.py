"""bench/unknown.py: its scores and its figures, by hand."""

import numpy as np
import pytest
import unknown

RANDOM = np.random.default_rng(0)


def test_auroc_counts_pairs_and_ties_half():
    found = unknown.told_apart(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 4.0, 5.0]))
    assert found["auroc"] == pytest.approx((0 + 1.5 + 3 + 3) / 12)


def test_fpr95_is_the_share_that_passes_where_95_of_100_known_ones_do():
    known = np.arange(1.0, 101.0)
    found = unknown.told_apart(known, np.array([50.0, 95.0, 96.0, 97.0, 200.0]))
    assert found["fpr95"] == pytest.approx(3 / 5)  # 96: the least that lets 95% pass


def test_the_mahalanobis_distances_are_those_of_the_definition():
    known = RANDOM.normal(size=(200, 3)) * [1, 2, 5]
    labels = np.repeat(["a", "b"], 100)
    known[100:] += [9, 0, 0]
    some = np.array([[0.0, 0, 0], [9, 0, 0], [4.5, 4, 0]])
    near, all_as_one = unknown.mahalanobis(some, unknown.Reference(known, labels))
    means = np.stack([known[:100].mean(0), known[100:].mean(0)])
    within = np.cov((known - means.repeat(100, 0)).T, bias=True)
    total = np.cov(known.T, bias=True)
    for covariance in (within, total):
        covariance += np.eye(3) * 1e-3 * np.trace(covariance) / 3
    for row, one in enumerate(some):
        apart = [(one - mean) @ np.linalg.inv(within) @ (one - mean) for mean in means]
        assert near[row] == pytest.approx(min(apart))
        middle = one - known.mean(0)
        assert all_as_one[row] == pytest.approx(middle @ np.linalg.inv(total) @ middle)


def test_every_score_is_higher_for_what_is_less_like_the_training_images():
    known = np.abs(RANDOM.normal(size=(120, 4))) + np.repeat(np.eye(2, 4) * 9, 60, 0)
    reference = unknown.Reference(known, np.repeat(["a", "b"], 60))
    features = np.array([known[:60].mean(0), [0.5, 0.5, 9.0, 9.0]])
    logits = np.array([[9.0, 0.0], [0.2, 0.0]])
    found = dict(unknown.scores(unknown.Seen(features, logits), reference))
    assert len(found) == 4 + len(unknown.NEIGHBOURS)
    for name, (alike, unlike) in found.items():
        assert unlike > alike, name
    assert found["energy"][0] == pytest.approx(-np.log(np.exp(9) + 1))
    assert found["softmax"][0] == pytest.approx(-np.log(np.exp(9) / (np.exp(9) + 1)))


def test_a_class_is_left_out_of_both_splits(tmp_path):
    for split in ("train", "valid"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            (tmp_path / "data" / split / name / "0.jpg").write_text(name)
    found = unknown.less(tmp_path / "data", "b", tmp_path / "out")
    assert sorted(str(file.relative_to(found)) for file in found.rglob("*.jpg")) == [
        "train/a/0.jpg",
        "valid/a/0.jpg",
    ]
