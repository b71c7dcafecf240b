import numpy as np
import pytest

from jaxft.evaluation import similarity
from jaxft.evaluation.refit import refit


def drawn(seed=0, examples=60, features=200):
    return np.random.default_rng(seed).normal(size=(examples, features))


def cka(before, now) -> float:
    found = similarity.cka(before, now)
    assert found is not None
    return found


def test_features_that_are_rotated_and_scaled_are_alike_to_cka():
    first = drawn()
    rotation, _ = np.linalg.qr(drawn(1, 200, 200))
    assert cka(first, 3 * first @ rotation + 5) == pytest.approx(1)
    assert abs(similarity.cosine(first, 3 * first @ rotation + 5)) < 0.3


def test_unrelated_features_have_a_cka_of_0_on_average_however_few_the_examples():
    found = [cka(drawn(seed), drawn(seed + 1000)) for seed in range(30)]
    assert abs(np.mean(found)) < 0.02  # 0.77 if it were biased


def test_cka_falls_as_noise_is_added():
    first = drawn()
    found = [cka(first, first + share * drawn(1)) for share in (0, 0.5, 1, 2)]
    assert found == sorted(found, reverse=True) and found[0] == pytest.approx(1)
    assert found[2] == pytest.approx(0.5, abs=0.1)  # half of the variance is shared


def test_cka_is_not_defined_for_few_examples_or_constant_features():
    assert similarity.cka(drawn(examples=3), drawn(examples=3)) is None
    assert similarity.cka(np.ones((10, 3)), drawn(examples=10)) is None


def test_cosine_leaves_out_features_of_no_length():
    first = np.asarray([[1.0, 0], [0, 0], [1, 1]])
    assert similarity.cosine(first, np.asarray([[2.0, 0], [1, 1], [-1, 1]])) == 0.5
    assert similarity.cosine(np.zeros((2, 3)), np.ones((2, 3))) == 0


@pytest.mark.parametrize("examples", [40, 400], ids=["fewer than features", "more"])
def test_a_refitted_head_classifies_what_it_has_not_seen(examples):
    centres = 3 * drawn(2, 3, 100)
    centres[:, 50:] = 7  # half of the features are constant
    random = np.random.default_rng(3)
    labels = random.integers(3, size=2 * examples)
    features = centres[labels] + np.pad(
        5 * random.normal(size=(2 * examples, 50)), ((0, 0), (0, 50))
    )
    classify = refit(features[:examples], labels[:examples], 3)
    assert (classify(features[examples:]) == labels[examples:]).mean() > 0.8


def test_a_refitted_head_on_noise_is_no_better_than_chance():
    labels = np.arange(200) % 2
    classify = refit(drawn(4, 200), labels, 2)
    assert 0.35 < (classify(drawn(5, 200)) == labels).mean() < 0.65


def test_one_class_and_one_example_are_classified():
    assert (refit(np.ones((1, 4)), np.asarray([2]), 3)(drawn(6, 5, 4)) == 2).all()
