"""A body's rate by how far the images are from those that it knows."""

from dataclasses import replace

import numpy as np
import pytest

from jaxft.recipe.finder import choice, distance, sweep
from jaxft.recipe.finder.curve import LRCurve
from jaxft.recipe.finder.distance import BORDERS, DISTANCE, MOST, RATES
from jaxft.recipe.finder.settings import FinderSettings

NAME = "efficientnet_lite0"
NEAR, FAR = BORDERS[NAME]
NONE = np.zeros(0)
RULES = {"rise": (3e-3, "two thirds of 4.5e-03"), "valley": (None, "none")}
CURVE = LRCurve(NONE, NONE, NONE, NONE, NONE, RULES, 3e-3, "rise", "two thirds of 4.5e-03")


@pytest.mark.parametrize(
    ("nats", "rate"), [(0.0, RATES[0]), (NEAR, RATES[0]), (FAR, RATES[1]), (9.0, RATES[1])]
)
def test_near_images_get_the_low_rate_and_far_ones_the_high_one(nats, rate):
    assert distance.decided(CURVE, NAME, nats).lr == pytest.approx(rate)


def test_between_them_the_rate_rises_in_equal_ratios():
    nats = NEAR * (FAR / NEAR) ** np.linspace(0, 1, 5)
    rates = np.array([distance.decided(CURVE, NAME, each).lr for each in nats])
    np.testing.assert_allclose(rates[1:] / rates[:-1], (RATES[1] / RATES[0]) ** 0.25)


@pytest.mark.parametrize(("nats", "most"), [(0.1, 1.0), (0.5, 4.0)])
def test_a_body_that_bears_less_gets_less(nats, most):
    found = distance.decided(replace(CURVE, lr=2e-4), NAME, nats)
    assert found.lr == pytest.approx(most * 2e-4)
    assert f"at most {most:.2g} times 2.0e-04 of rise" in found.reason
    assert "at most" not in distance.decided(CURVE, NAME, nats).reason


def test_it_says_by_what_it_decides_and_keeps_what_the_rules_found():
    found = distance.decided(CURVE, NAME, 0.3)
    assert found.rule == DISTANCE and found.reason.startswith("for images 0.30 nats a channel")
    assert found.rules == {DISTANCE: (found.lr, found.reason), **RULES}


def test_a_shorter_sweep_still_tells_whether_a_body_bears_the_rate():
    whole = FinderSettings(rule="rise", steps=40, lo=1e-4, hi=0.1)
    short = distance.bounded(whole)
    count = sweep.most_steps(short)
    rates, at_rest = sweep.rates(short)[:count], np.full(count, 2.0)
    assert count < 0.65 * sweep.most_steps(whole)
    assert rates[1] / rates[0] == pytest.approx(1.19, abs=0.02)  # as close as before
    assert rates[-1] > max(RATES)
    left_out = sweep.rates(whole)[sweep.rates(whole) < rates[0]]
    assert 0 < left_out.sum() < RATES[0] / MOST[0]  # together less than a step at that rate
    flat = choice.choose(rates, at_rest + 0.01 * (-1) ** np.arange(count), at_rest, short)
    for nats, rate, most in zip((NEAR, FAR), RATES, MOST, strict=True):
        assert flat.lr * most > rate
        assert distance.decided(flat, NAME, nats).lr == pytest.approx(rate)
    harmed = choice.choose(rates, at_rest + np.where(rates > 5e-4, 1.0, 0.0), at_rest, short)
    assert harmed.lr < 5e-4
    assert distance.decided(harmed, NAME, NEAR).lr == harmed.lr


def test_a_sweep_that_is_to_begin_lower_does():
    settings = FinderSettings(rule="rise", steps=40, lo=1e-5, hi=0.1)
    short = distance.bounded(settings)
    assert short.lo == 1e-5 and short.hi < 0.03
    rates, whole = sweep.rates(short), sweep.rates(settings)
    assert rates[1] / rates[0] == pytest.approx(whole[1] / whole[0], abs=0.03)


@pytest.mark.parametrize("changes", [{"hi": 2e-3}, {"lo": 0.05}])
def test_a_sweep_elsewhere_stays_as_it_is(changes):
    settings = FinderSettings(**{"rule": "rise", "lo": 1e-4, "hi": 0.1, **changes})
    assert distance.bounded(settings) == settings
