"""A process that dies ends the others of its run, with a line each; together they go on."""

import json
import time

import pytest
from places import SUPPORT
from several import finish, start

from jaxft.runtime import lost_host

MOST_SECONDS = 60


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Programs and features that all processes of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_other_with_one_line(victim, drawn, cache, tmp_path):
    workdir = tmp_path / "run"
    words = ["train", f"--config={SUPPORT / 'tiny_config.py'}:{drawn}", f"--workdir={workdir}"]
    words += ["--phase=head_augmented", "--config.phases.head_augmented.lr=0.01"]
    words += [f"--config.cache_dir={cache}"]
    places = ["none", "none"]
    places[victim] = "step:head_augmented:4"  # SIGKILL, in the second epoch
    both = start("tiny_main.py", [[place, *words] for place in places], 1)
    survivor = both[1 - victim]
    try:
        assert both[victim].wait(600) == -9
        died = time.monotonic()
        assert survivor.wait(MOST_SECONDS) == 75
        assert time.monotonic() - died < MOST_SECONDS
    finally:
        _, _, errors = finish(both)
    told = errors[1 - victim].splitlines()  # before it, XLA may complain of a slow machine
    assert told[-1] == lost_host.TOLD and told.count(told[-1]) == 1
    assert not any(word in errors[1 - victim] for word in ("Traceback", "coordination", "Gloo"))
    (row,) = map(json.loads, (workdir / "starts.jsonl").read_text().splitlines())
    assert row["ended_by"] == "interrupted"
    if victim == 0:  # what was there is enough to go on
        codes, out, errors = finish(start("tiny_main.py", [["none", *words]] * 2, 1))
        assert codes == [0, 0], errors
        # The first epoch's checkpoint, which was on its way when the process died, or none.
        assert ("resuming at step 3" in out[0]) != ("An epoch after the newest" in out[0])
        assert len((workdir / "metrics.jsonl").read_text().splitlines()) == 2
