"""Over-fitting: the paired test, the training loss beside it, and patience."""

import math

import numpy as np
import pytest

from jaxft.recipe import overfit
from jaxft.recipe.overfit import CycleEnd, OverfitSettings

RANDOM = np.random.default_rng(0)
BEST = RANDOM.gamma(1.0, 0.5, 200)
WORSE = BEST + RANDOM.normal(0.1, 0.3, 200)
SETTINGS = OverfitSettings()


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.2])
def test_paired_t_equals_scipys(shift):
    stats = pytest.importorskip("scipy.stats")
    losses = BEST + RANDOM.normal(shift, 0.3, 200)
    found = overfit.paired_t(losses, BEST)
    assert found == pytest.approx(stats.ttest_rel(losses, BEST).statistic, rel=1e-10)


def test_paired_t_by_hand():
    # Rises 1, 2, 3: mean 2, standard deviation 1.
    assert overfit.paired_t(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(
        2 * math.sqrt(3)
    )


def test_pairing_sees_what_an_unpaired_test_would_not():
    rise = BEST * 10 + RANDOM.normal(0.02, 0.05, 200)
    assert overfit.paired_t(rise, BEST * 10) > 2


def test_differences_that_are_all_the_same():
    ones = np.ones(4)
    assert overfit.paired_t(ones, ones) == 0
    assert overfit.paired_t(ones + 1, ones) == math.inf
    assert overfit.paired_t(ones - 0.5, ones) == -math.inf
    assert overfit.paired_t(np.array([2.0]), np.array([1.0])) == math.inf


@pytest.mark.parametrize(
    ("losses", "trn_loss", "expected"),
    [
        (WORSE, 0.4, True),
        (WORSE, 0.5, False),  # the training loss has not fallen
        (WORSE, 0.6, False),
        (BEST, 0.4, False),
        (2 * BEST - WORSE, 0.4, False),  # better by as much
    ],
)
def test_signs_need_a_significant_rise_and_a_falling_training_loss(losses, trn_loss, expected):
    assert overfit.paired_t(WORSE, BEST) > 2
    assert overfit.signs(CycleEnd(trn_loss, losses), CycleEnd(0.5, BEST), SETTINGS) is expected


def test_the_threshold_is_a_setting():
    end, best = CycleEnd(0.4, WORSE), CycleEnd(0.5, BEST)
    t = overfit.paired_t(WORSE, BEST)
    assert overfit.signs(end, best, OverfitSettings(t=t - 0.01))
    assert not overfit.signs(end, best, OverfitSettings(t=t + 0.01))


@pytest.mark.parametrize(
    ("signs", "expected"),
    [([], False), ([True], False), ([False, True, True], True), ([True, True, False], False)],
)
def test_patience_counts_consecutive_cycle_ends(signs, expected):
    assert overfit.over_fitted(signs, SETTINGS) is expected


def test_patience_of_one():
    assert overfit.over_fitted([False, True], OverfitSettings(patience=1))


def test_a_cycles_validation_loss_is_the_mean():
    assert CycleEnd(0.0, np.array([1.0, 2.0], np.float32)).val_loss == 1.5
