"""The paired test by which an average takes the best epoch's place, and the ensemble."""

import numpy as np
import pytest

from jaxft.evaluation import beside
from jaxft.evaluation.metrics import Evaluation

LABELS = np.arange(40) % 2


def evaluation(losses, wrong=0):
    """An evaluation with these losses, of which the first `wrong` answers are wrong."""
    own = np.where(np.arange(40) < wrong, 0.1, 0.9)
    probabilities = np.stack([1 - own, own], 1)
    probabilities[LABELS == 0] = probabilities[LABELS == 0][:, ::-1]
    return Evaluation(np.asarray(losses, np.float32), probabilities, LABELS)


NOISE = np.random.default_rng(0).normal(size=40)
NOISE = (
    (NOISE - NOISE.mean()) / NOISE.std(ddof=1) / np.sqrt(40)
)  # of which a mean has an error 1/40
BEFORE = evaluation(np.ones(40), wrong=2)


def lower_by(t, **changes):
    """Losses whose paired t against BEFORE's is -t."""
    return evaluation(1 + 0.1 * (NOISE - t / 40), **changes)


@pytest.mark.parametrize(
    ("t", "wrong", "expected"),
    [
        (2.1, 2, True),
        (1.9, 2, False),
        (2.1, 1, True),
        (9.0, 3, False),  # however much lower the losses
        (-2.1, 0, False),  # however many more are right
    ],
)
def test_losses_that_are_lower_by_more_than_chance_win_with_no_image_lost(t, wrong, expected):
    found = lower_by(t, wrong=wrong)
    assert beside.wins(found, BEFORE) is expected
    assert beside.row("it", found, BEFORE)["t"] == pytest.approx(-t, rel=1e-3)


def test_the_same_answers_do_not_win():
    assert not beside.wins(BEFORE, BEFORE)
    assert beside.row("it", BEFORE, BEFORE)["t"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_not_finite_lose_and_are_written_as_nothing(value):
    broken = evaluation(np.full(40, value))
    assert not beside.wins(broken, BEFORE) and not beside.wins(BEFORE, broken)
    row = beside.row("it", broken, BEFORE)
    assert (row["val_loss"], row["t"]) == (None, None)


def test_a_row_has_figures_and_tests_against_the_best_epoch():
    assert beside.row("best", BEFORE) == {
        "weights": "best",
        "accuracy": 0.95,
        "val_loss": 1.0,
        "t": None,
        "p": None,
    }
    row = beside.row("it", lower_by(3.0, wrong=9), BEFORE)
    assert row["accuracy"] == 31 / 40
    assert row["p"] == pytest.approx(2**-7), "seven images lost and none won"


def test_the_ensemble_is_the_mean_of_the_probabilities():
    one, other = evaluation(np.zeros(40), wrong=40), evaluation(np.zeros(40), wrong=0)
    found = beside.ensemble([one, other, other])
    own = (0.1 + 0.9 + 0.9) / 3
    np.testing.assert_allclose(found.losses, -np.log(own))
    assert found.accuracy == 1.0
    assert beside.ensemble([one, one, other]).accuracy == 0.0


def test_an_ensemble_of_members_that_rule_the_class_out_has_a_finite_loss():
    impossible = evaluation(np.zeros(40))
    impossible.probabilities[0] = [0.0, 1.0]
    assert np.isfinite(beside.ensemble([impossible]).losses).all()
