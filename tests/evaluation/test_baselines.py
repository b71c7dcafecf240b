"""Simple classifiers on features: they learn, and are left out where they would take too long."""

import importlib.util

import numpy as np
import pytest

from jaxft.evaluation import baselines

pytest.importorskip("sklearn")


def examples(count, informative, classes=3, features=40):
    """Features, `informative` of which tell the classes apart, and labels."""
    random = np.random.default_rng(count)
    labels = random.integers(classes, size=count)
    noise = random.normal(size=(count, features))
    noise[:, :informative] += 3 * np.eye(classes)[labels][:, np.arange(informative) % classes]
    return noise.astype(np.float32), labels


def test_both_learn_what_the_features_tell_and_nothing_from_noise():
    told = baselines.measure(*examples(150, 12), *examples(151, 12))
    assert min(told) > 0.9
    untold = baselines.measure(*examples(150, 0), *examples(151, 0))
    assert max(untold) < 0.6


@pytest.mark.parametrize("best", baselines.STRENGTHS)
def test_the_strength_is_the_one_that_does_best_on_examples_held_out(monkeypatch, best):
    class Regression:
        def __init__(self, strength):
            self.strength = strength

        def fit(self, x, y):
            self.seen = {tuple(row) for row in x}
            return self

        def score(self, x, y):
            assert len(x) == 20 and not self.seen & {tuple(row) for row in x}
            return float(self.strength == best)

    monkeypatch.setattr(baselines, "_regression", Regression)
    assert baselines._strength(*examples(100, 6)) == best


def test_a_class_that_is_alone_needs_no_choice():
    train, labels = examples(10, 3)
    assert baselines._strength(train, 0 * labels) == baselines.STRENGTHS[0]


def test_they_are_left_out_where_they_cannot_be_measured_in_seconds(monkeypatch):
    labels = np.arange(10) % 3
    monkeypatch.setattr(baselines, "LARGEST", 1000)
    assert baselines.available(labels, 40)
    assert not baselines.available(0 * labels, 40)
    assert not baselines.available(labels, baselines.LARGEST // 10 + 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not baselines.available(labels, 40)
