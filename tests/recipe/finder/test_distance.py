"""A body's rate by how far the images are from those that it knows."""

from dataclasses import replace

import numpy as np
import pytest

from jaxft.recipe.finder import distance
from jaxft.recipe.finder.curve import LRCurve
from jaxft.recipe.finder.distance import BORDERS, DISTANCE, RATES

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
