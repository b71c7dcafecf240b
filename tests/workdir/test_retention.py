"""What stays of a run's checkpoints."""

import pytest

from jaxft.config import load
from jaxft.configs import base
from jaxft.errors import UserError
from jaxft.workdir import retention as retentions
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


def test_the_config_says_what_stays():
    config = base.get_config()
    assert retentions.of(load.read(config)) == Retention(2, 0)
    config.checkpoint_keep, config.checkpoint_keep_every = 5, 10
    assert retentions.of(load.read(config)) == Retention(5, 10)
    config.checkpoint_keep, config.checkpoint_keep_every = 0, -1
    with pytest.raises(UserError) as error:
        load.read(config)
    assert list(error.value.offenders) == [
        "config.checkpoint_keep should be 1 or more",
        "config.checkpoint_keep_every should be 0 or more",
    ]
