"""What stays of a run's checkpoints."""

import pytest

from jaxft.workdir.retention import Preserved, Retention

STEPS = list(range(1, 10))


@pytest.mark.parametrize(
    "retention, back_to, best_of, kept",
    [
        (Retention(2), 0, {}, {8, 9}),
        (Retention(4), 0, {}, {6, 7, 8, 9}),
        (Retention(2), 5, {}, {5, 8, 9}),
        (Retention(2, every=4), 0, {}, {4, 8, 9}),
        (Retention(2), 0, {9: 3}, {3, 8, 9}),
        # One file has the best epoch of both: another stays.
        (Retention(2), 0, {7: 6, 8: 6, 9: 6}, {5, 6, 8, 9}),
        (Retention(2), 0, dict.fromkeys(range(2, 10), 1), {1, 8, 9}),
        (Retention(1), 0, {9: 8}, {8, 9}),
        (Retention(1), 0, {}, {9}),
        (Retention(1), 4, {4: 2}, {2, 4, 9}),
        (Retention(1, every=4), 0, {4: 2}, {2, 4, 8, 9}),
    ],
)
def test_what_stays(retention, back_to, best_of, kept):
    assert Preserved(retention, back_to, best_of).kept(STEPS) == kept
