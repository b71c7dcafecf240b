"""One job is done at a time, one waits, and a newer one takes its place unless that is needed."""

import threading

import pytest

from jaxft.workdir.writer import Writer


class Gate:
    """Jobs that note their number once they are let through."""

    def __init__(self):
        self.done, self.begun, self.open = [], threading.Event(), threading.Event()

    def job(self, number):
        def work():
            self.begun.set()
            assert self.open.wait(30)
            self.done.append(number)

        return work


@pytest.fixture
def writer():
    writer = Writer()
    yield writer
    writer.close()


@pytest.fixture
def gate(writer):
    """A gate that is shut, with job 1 before it."""
    gate = Gate()
    writer.put(1, gate.job(1))
    assert gate.begun.wait(30)
    yield gate
    gate.open.set()


def test_handing_over_waits_for_nothing(writer, gate):
    writer.put(2, gate.job(2))
    assert gate.done == [] and writer.busy
    gate.open.set()
    writer.wait()
    assert gate.done == [1, 2] and not writer.busy


def test_a_newer_job_takes_the_place_of_the_one_that_waits(writer, gate):
    for number in (2, 3, 4):
        writer.put(number, gate.job(number))
    gate.open.set()
    writer.wait()
    assert gate.done == [1, 4]


def test_a_job_that_is_needed_is_done(writer, gate):
    writer.put(2, gate.job(2))
    threading.Timer(0.05, gate.open.set).start()
    writer.put(3, gate.job(3), lambda number: number == 2)
    writer.wait()
    assert gate.done == [1, 2, 3]


def failing():
    raise OSError("no room")


def test_an_error_is_raised_by_the_next_wait_once(writer):
    writer.put(1, failing)
    with pytest.raises(OSError, match="no room"):
        writer.wait()
    writer.wait()


def test_an_error_is_raised_by_the_next_job_which_is_not_done(writer):
    done = []
    writer.put(1, failing)
    while writer.busy:
        pass
    with pytest.raises(OSError, match="no room"):
        writer.put(2, lambda: done.append(2))
    writer.wait()
    assert done == []


def test_a_job_that_waits_is_done_although_the_one_before_it_failed(writer, gate):
    writer.put(2, failing)
    gate.open.set()
    with pytest.raises(OSError, match="no room"):
        writer.wait()
    assert gate.done == [1]
