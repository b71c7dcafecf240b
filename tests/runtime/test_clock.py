"""Durations in words."""

from jaxft.runtime.clock import clock


def test_a_duration_has_the_units_that_it_needs():
    assert [clock(seconds) for seconds in (4.51, 75, 3723)] == ["4.5s", "1:15", "1:02:03"]
