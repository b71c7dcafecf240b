"""A run that waited for images says so, and says what would help."""

from dataclasses import replace
from typing import Any

import pytest

from jaxft.config import load
from jaxft.configs import base
from jaxft.report import bottleneck

DATA = load.read(base.get_config()).data


def phase(name: str, wait: float, total: float = 100.0, compiling: float = 0.0) -> dict[str, Any]:
    return {"name": name, "seconds": {"input_wait": wait, "total": total, "compile": compiling}}


def test_nothing_is_told_where_none_waited():
    assert bottleneck.of_phases([], DATA, False, 8) is None
    assert bottleneck.of_phases([phase("head", 9.0), phase("full", 10.0)], DATA, False, 8) is None


def test_nothing_is_told_of_seconds():
    assert bottleneck.of_phases([phase("head", 9.0, total=10.0)], DATA, True, 8) is None


def test_the_phase_that_waited_for_the_longest_time():
    phases = [phase("head", 20.0), phase("full", 40.0, total=1000.0), phase("more", 30.0)]
    found = bottleneck.of_phases(phases, DATA, False, 8)
    assert found
    assert (found["phase"], found["input_wait"]) == ("more", pytest.approx(0.3))
    told = bottleneck.in_words(found)
    assert "more waited for them 30%" in told and found["remedy"] in told


def test_compilation_is_no_excuse():
    found = bottleneck.of_phases(
        [phase("full", 20.0, total=1000.0, compiling=900.0)], DATA, False, 8
    )
    assert found and found["input_wait"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "in_memory", "wanted", "unwanted"),
    [
        ({}, False, ["jaxft prepare", "workers=7", "more memory, to keep"], ["memory_gb"]),
        ({"memory_gb": 2.0}, False, ["memory_gb=2"], []),
        ({"threads": 2}, False, ["threads=0, not 2"], ["workers"]),
        ({"workers": 7}, False, ["more cores"], ["workers"]),
        ({}, True, ["faster cores"], ["prepare", "memory_gb", "workers"]),
    ],
)
def test_remedies_fit_the_run(changes, in_memory, wanted, unwanted):
    found = bottleneck.of_phases([phase("full", 50.0)], replace(DATA, **changes), in_memory, 8)
    assert found
    assert all(words in found["remedy"] for words in wanted)
    assert not any(words in found["remedy"] for words in unwanted)
