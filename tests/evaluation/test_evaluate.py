"""Metrics that count every example once, on any mesh, and test-time augmentation."""

import numpy as np
import pytest
import tiny

from jaxft.augment.presets import PRESETS
from jaxft.data.batches import eval_batches
from jaxft.data.slots import Slots
from jaxft.devices import sharding
from jaxft.evaluation import metrics, tta
from jaxft.evaluation.softmax import softmax
from jaxft.features import inference
from jaxft.features.inference import View, make_forward

NET = tiny.model()
WEIGHTS = tiny.weights(NET)
DATA = tiny.canvases(13)
SPLIT = tiny.split(DATA, "valid")
IMAGES = tiny.images(SPLIT)


def _forward(devices):
    mesh = sharding.data_mesh(devices)
    forward = make_forward(NET, PRESETS["side_on"], 16, mesh)
    return forward, sharding.replicate(WEIGHTS, mesh), mesh


def _extract(devices, batch_size=8, view=None):
    forward, weights, mesh = _forward(devices)
    source = eval_batches(IMAGES, SPLIT.labels, slots=Slots(batch_size), canvas=18)
    return inference.extract(forward, weights, source, mesh, view)


@pytest.fixture(scope="module")
def features():
    return _extract(1)


def _by_hand(features):
    """(losses, accuracy, probabilities), all examples at once, in float64."""
    logits = np.asarray(NET.classify(*WEIGHTS, features)[0], np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(probabilities[np.arange(13), SPLIT.labels])
    return losses, (probabilities.argmax(1) == SPLIT.labels).mean(), probabilities


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4, 8])
def test_every_example_counts_once_whatever_the_mesh(devices, features):
    extracted = _extract(devices)
    assert extracted.shape == (13, NET.feature_size)
    np.testing.assert_allclose(extracted, features, rtol=1e-5, atol=1e-5)
    forward, weights, mesh = _forward(devices)
    losses, accuracy, probabilities = _by_hand(features)
    for batch_size in (8, 16):
        found = metrics.score(forward, weights, extracted, SPLIT.labels, batch_size, mesh)
        assert found.losses.shape == (13,)
        np.testing.assert_allclose(found.losses, losses, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-4, atol=1e-6)
        assert found.accuracy == accuracy
        assert found.val_loss == pytest.approx(losses.mean(), rel=1e-5)


def test_metrics_by_hand():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.9, 0.1, 0.0]])
    losses = np.array([1.0, 2.0, 3.0, 6.0], np.float32)
    evaluation = metrics.Evaluation(losses, probabilities, np.array([0, 1, 1, 2]))
    assert (evaluation.val_loss, evaluation.accuracy) == (3.0, 0.5)
    assert evaluation.balanced_accuracy == (1 + 0.5 + 0) / 3


def test_softmax_takes_large_logits():
    logits = np.array([[1000.0, 0.0], [-1000.0, -1000.0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[1.0, 0.0], [0.5, 0.5]], atol=1e-12)


# Test-time augmentation.


@pytest.mark.slow
def test_random_views_follow_from_seed_phase_and_number_alone(features):
    first = _extract(1, view=View(0, 5, 0))
    assert first.shape == features.shape
    np.testing.assert_allclose(_extract(4, 16, View(0, 5, 0)), first, rtol=1e-4, atol=1e-5)
    others = [features, *(_extract(1, view=View(*v)) for v in ((0, 5, 1), (1, 5, 0), (0, 6, 0)))]
    for i, some in enumerate(others):
        for other in [first, *others[:i]]:
            assert np.abs(some - other).max() > 1e-3


def _random_probabilities(count):
    return [np.random.RandomState(n).dirichlet([1, 1, 1], 5) for n in range(count)]


@pytest.mark.parametrize(("views", "repeats"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_fastai_07_repeats_the_plain_view(views, repeats):
    plain, *others = _random_probabilities(views + 1)
    expected = (sum(others) + repeats * plain) / (views + repeats)
    np.testing.assert_allclose(tta.combine(plain, others, "fastai07"), expected)


def test_with_four_views_the_plain_one_weighs_a_fifth():
    found = tta.combine(np.array([[1.0, 0.0]]), [np.array([[0.0, 1.0]])] * 4, "fastai07")
    np.testing.assert_allclose(found, [[0.2, 0.8]])


def test_fastai_2_averages_log_probabilities():
    plain, *others = _random_probabilities(4)
    geometric = plain**0.25 * (others[0] * others[1] * others[2]) ** 0.25
    expected = geometric / geometric.sum(1, keepdims=True)
    np.testing.assert_allclose(tta.combine(plain, others, "fastai2"), expected)


def test_a_probability_of_zero_is_no_trouble():
    found = tta.combine(np.array([[1.0, 0.0]]), [np.array([[1.0, 0.0]])], "fastai2")
    np.testing.assert_allclose(found, [[1, 0]], atol=1e-12)
