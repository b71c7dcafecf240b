"""A short run of every fuzzer; and fuzzers notice what is amiss."""

import time

import fuzz
import pytest
from all_readers import READERS
from fuzz import Reader
from hypothesis import strategies as st

INPUTS = {"tfds": 20, "workdir": 60, "page": 4}  # of the slow ones; 200 of the others


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_reader_ends_every_input_by_its_own_error(name, tmp_path):
    count = INPUTS.get(name, 200)
    found = fuzz.fuzz(READERS[name](tmp_path), count, seed=1)
    assert not found.amiss, "\n".join(found.amiss)
    assert found.inputs >= count
    # A page shows what it can, and says what is damaged.
    assert name == "page" or set(found.ends) != {"read"}, "no input was refused"


def ends(read):
    return fuzz.fuzz(Reader(st.binary(max_size=9), read, (ValueError,)), 50, seed=0).amiss


def test_another_error_is_amiss_and_its_smallest_input_told():
    """Half of what is drawn is so long; what is drawn depends on constants in all modules."""

    def read(content):
        if len(content) > 2:
            raise KeyError(content)
        raise ValueError

    assert ends(read)[0].startswith(r"KeyError: b'\x00\x00\x00'")


def test_time_is_bounded(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.01)
    monkeypatch.setattr(fuzz, "MOST_AMISS", 1)

    def read(content):
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass

    assert ends(read)[0].startswith("TooSlow: more than 0.02 s")


def test_a_reader_is_slow_if_it_is_so_twice(monkeypatch):
    """Python may collect Hypothesis's garbage while an input is read."""
    monkeypatch.setattr(fuzz, "SECONDS", 0.5)
    seen: set[bytes] = set()

    def read(content):
        until = time.process_time() + (0 if seen else 0.6)
        seen.add(content)
        while time.process_time() < until:
            pass

    assert ends(read) == []


def test_memory_is_bounded(monkeypatch):
    taken: list[bytes] = []
    monkeypatch.setattr(fuzz, "_mebibytes", lambda: 600 * len(taken))
    assert ends(lambda content: taken.append(content))[0].startswith("MemoryError: 600 MiB")
