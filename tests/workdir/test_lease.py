"""One workdir in a bucket, one process: taken, refused, left, lost."""

import json
import time

import numpy as np
import pytest

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.workdir import checkpoint, lease
from jaxft.workdir.checkpoint import Checkpoint
from jaxft.workdir.saving import Checkpoints

NAME = f"run/{lease.NAME}"


@pytest.fixture(name="workdir")
def _workdir(store, new_bucket, monkeypatch):
    """An empty one, where a lease lasts six tenths of a second and is looked at all the time."""
    monkeypatch.setattr(lease, "SECONDS", 0.6)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    return paths.of(f"gs://{new_bucket}/run")


@pytest.fixture(name="objects")
def _objects(store, new_bucket):
    return store.buckets[new_bucket]


def note(until, token="theirs", seconds=60.0):
    return json.dumps(
        {"token": token, "holder": "process 7 on there", "seconds": seconds, "until": until}
    ).encode()


def eventually(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_is_there_while_held_and_gone_afterwards(workdir, objects):
    with checkpoint.lock(workdir) as still_held:
        still_held()
        held = json.loads(objects[NAME].content)
        assert held["holder"].startswith("process ") and held["until"] > time.time()
    assert not objects


def test_a_second_process_is_refused_once_the_first_has_renewed(workdir, objects):
    said: list[str] = []
    second = checkpoint.lock(workdir, said.append)
    with checkpoint.lock(workdir):
        with pytest.raises(UserError, match=r"held by process \d+ on .* until \d\d:\d\d") as error:
            second.__enter__()
        assert "Another process is running in gs://" in error.value.title
        assert NAME in objects  # the refused one has not ended it
    assert len(said) == 1 and "waiting to see" in said[0]


def test_a_lease_that_ran_out_is_taken_over_at_once(workdir, store, new_bucket):
    store.put(new_bucket, NAME, note(until=time.time() - 1), {})
    said: list[str] = []
    with checkpoint.lock(workdir, said.append) as still_held:
        still_held()
    assert not said


def test_a_lease_that_nobody_renews_is_waited_for(workdir, store, new_bucket):
    """No longer than it is good for, though its holder's clock be ahead."""
    store.put(new_bucket, NAME, note(until=time.time() + 30, seconds=0.3), {})
    said: list[str] = []
    before = time.monotonic()
    with checkpoint.lock(workdir, said.append):
        assert 0.3 <= time.monotonic() - before < 10
    assert "process 7 on there" in said[0]


def test_one_that_ends_while_waited_for_is_not_waited_for_longer(workdir, store, new_bucket):
    store.put(new_bucket, NAME, note(until=time.time() + 60), {})

    def end(_):
        store.delete(new_bucket, NAME, {})

    before = time.monotonic()
    with checkpoint.lock(workdir, end):
        assert time.monotonic() - before < 10


def test_of_two_that_want_what_a_third_left_one_gets_it(workdir, store, new_bucket):
    store.put(new_bucket, NAME, note(until=0), {})
    one, other = lease.Lease(workdir), lease.Lease(workdir)
    generation = one.look().generation
    assert other.look().generation == generation
    assert [one.take(generation), other.take(generation)] == [True, False]
    one.release()


def test_an_object_that_is_no_lease_holds_nothing(workdir, store, new_bucket):
    store.put(new_bucket, NAME, b"", {})  # as a copy of a disk's workdir may have
    with checkpoint.lock(workdir) as still_held:
        still_held()


def test_who_lost_it_saves_no_more_and_leaves_the_others_alone(workdir, store, new_bucket):
    with checkpoint.lock(workdir) as still_held:
        checkpoints = Checkpoints(workdir, still_held)
        item = Checkpoint({"params": {"a": np.ones(3)}}, {"params": {"a": np.ones(3)}}, {})
        checkpoints.save(1, item)
        checkpoints.wait()
        theirs = store.put(new_bucket, NAME, note(until=time.time() + 60), {})

        def lost():
            try:
                still_held()
            except UserError:
                return True
            return False

        eventually(lost)
        with pytest.raises(UserError, match="taken over by process 7 on there"):
            checkpoints.save(2, item)
        checkpoints.close()
    assert checkpoint.steps(workdir) == [1]
    assert store.buckets[new_bucket][NAME] == theirs


def test_a_renewal_whose_answer_was_lost_is_no_loss(workdir, store, new_bucket):
    with checkpoint.lock(workdir) as still_held:
        mine = json.loads(store.buckets[new_bucket][NAME].content)
        written = store.put(new_bucket, NAME, json.dumps(mine).encode(), {})
        eventually(lambda: store.buckets[new_bucket][NAME].generation > written.generation)
        still_held()
    assert NAME not in store.buckets[new_bucket]


def test_a_network_that_fails_for_a_while_is_no_loss(workdir, store, new_bucket):
    with checkpoint.lock(workdir) as still_held:
        first = store.buckets[new_bucket][NAME].generation
        store.next_statuses += [503, 503]
        eventually(lambda: store.buckets[new_bucket][NAME].generation > first)
        still_held()


@pytest.mark.parametrize(
    "lost", [["request"], ["answer"], ["", "request"], ["", "answer"], ["", "answer", "answer"]]
)
def test_it_is_taken_over_a_network_that_loses_a_request(workdir, store, objects, lost):
    """Of those that look for it, or write it."""
    store.lost = iter(lost)
    with checkpoint.lock(workdir) as still_held:
        assert next(store.lost, None) is None
        still_held()
        first = objects[NAME].generation
        eventually(lambda: objects[NAME].generation > first)
        still_held()
    assert not objects


@pytest.mark.parametrize("statuses", [[403], [404, 403]])
def test_a_bucket_that_may_not_be_used_is_the_users_to_mend(workdir, store, objects, statuses):
    """Reading the lease is refused, or writing one where there is none."""
    store.next_statuses += statuses
    with pytest.raises(UserError, match="cannot be held: 403") as error:
        checkpoint.lock(workdir).__enter__()
    assert "Storage Object User" in error.value.hint and not objects
