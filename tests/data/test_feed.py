"""Items made ahead come in order, stop on request, and never block their caller for ever."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxft.data.feed import Feed, read_ahead
from jaxft.errors import UserError

HERE = Path(__file__).parent
# A worker's loss must be told within so many seconds.
PROMPT = 10


def ahead(make: Callable[[int], Any], numbers: range, **how: Any) -> Feed[Any]:
    """`read_ahead`, of items of any kind."""
    return read_ahead(make, numbers, **how)


def itself(number: int) -> int:
    return number


def slowly(number: int) -> tuple[int, int]:
    time.sleep(0.1)
    return number, os.getpid()


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_hands_on_everything_in_order(threads):
    with ahead(itself, range(3, 50), parts=3, join=tuple, threads=threads) as feed:
        assert list(feed) == [(3 * n, 3 * n + 1, 3 * n + 2) for n in range(3, 50)]
        assert next(feed, None) is None
    with ahead(itself, range(0), threads=threads) as feed:
        assert list(feed) == []


def test_finishes_ahead_of_time_in_another_thread():
    """Items are placed on a device before they are requested."""
    finished, third = [], threading.Event()

    def finish(number: int) -> int:
        finished.append((number, threading.get_ident()))
        if number == 2:
            third.set()
        return number

    with ahead(itself, range(9), finish=finish) as feed:
        assert next(feed) == 0
        assert third.wait(5), "the next ones are not made until they are asked for"
    assert {thread for _, thread in finished}.isdisjoint({threading.get_ident()})


def test_counts_the_time_that_its_caller_waits():
    gate = threading.Event()
    with ahead(lambda number: gate.wait(5), range(1)) as feed:
        assert feed.waited_seconds == 0
        threading.Timer(0.05, gate.set).start()
        assert next(feed)
        assert 0.03 < feed.waited_seconds < 5


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_out_and_ends_it(threads):
    with ahead(lambda number: 6 // (3 - number), range(9), threads=threads) as feed:
        assert [next(feed) for _ in range(3)] == [2, 3, 6]
        with pytest.raises(ZeroDivisionError):
            next(feed)
        assert next(feed, None) is None


@pytest.mark.parametrize("threads", [0, 2])
def test_closes_in_the_middle(threads):
    made = []

    def make(number: int) -> int:
        made.append(number)
        return number

    feed = ahead(make, range(10**6), threads=threads)
    next(feed)
    feed.close()
    so_far = len(made)
    assert so_far < 20 and next(feed, None) is None
    feed.close()


def test_the_interpreter_does_not_wait():
    code = (
        "from jaxft.data.feed import read_ahead\n"
        "feeds = [read_ahead(bytes, range(1, 10**9), threads=n) for n in (0, 2)]\n"
        "for feed in feeds: next(feed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr


class TestWorkers:
    @pytest.mark.slow
    def test_share_the_work_and_end_with_it(self):
        with ahead(slowly, range(6), workers=2) as feed:
            made = list(feed)
        assert [number for number, _ in made] == list(range(6))
        workers = {pid for _, pid in made}
        assert len(workers) == 2 and os.getpid() not in workers
        assert not any(map(alive, workers))

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
    def test_one_that_is_killed_is_told_at_once(self, number):
        with ahead(slowly, range(10**6), workers=2) as feed:
            _, worker = next(feed)
            os.kill(worker, number)
            started = time.monotonic()
            with pytest.raises(UserError, match=number.name) as caught:
                while True:
                    next(feed)
            assert time.monotonic() - started < PROMPT
        assert "--config.data.workers" in str(caught.value)
        assert not multiprocessing.active_children()

    @pytest.mark.slow
    def test_ctrl_c_is_left_to_the_parent(self):
        with ahead(slowly, range(6), workers=1) as feed:
            _, worker = next(feed)
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(worker, number)
            assert [made[0] for made in feed] == list(range(1, 6))

    @pytest.mark.slow
    def test_end_with_a_parent_that_is_killed(self):
        code = (
            "import os, sys; sys.path.insert(0, sys.argv[1])\n"
            "import signal, test_feed\n"
            "from jaxft.data.feed import read_ahead\n"
            "feed = read_ahead(test_feed.slowly, range(10**6), workers=1)\n"
            "print(next(feed)[1], flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(HERE)], timeout=100, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        worker, until = int(done.stdout), time.monotonic() + PROMPT
        while alive(worker) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(worker)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
