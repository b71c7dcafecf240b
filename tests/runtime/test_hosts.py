"""Several processes as one run: they join, speak with one voice, agree, and give the same run."""

import json
from functools import partial
from pathlib import Path

import jax
import mesh_run
import numpy as np
import pytest
import tiny_body
import tiny_config
from places import SUPPORT
from several import finish, start

from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.evaluation import embed
from jaxft.models.registry import BODIES
from jaxft.runtime import hosts
from jaxft.runtime.ballot import Ballot, Stop

# The same run on any mesh.


@pytest.fixture(scope="module")
def two_processes(drawn, tmp_path_factory):
    """Output of mesh_run.py from two processes with four devices each."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    codes, _, errors = finish(start("mesh_run.py", [[drawn, workdir]] * 2))
    assert codes == [0, 0], errors
    return json.loads(Path(f"{workdir}.json").read_text())


@pytest.fixture(scope="module")
def on_devices(drawn, tmp_path_factory):
    """Return mesh_run's figures on this process's first N devices, computed once for each N."""
    known = {}

    def told(devices):
        if devices not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(BODIES, "tiny_grouped", tiny_body.grouped)
                tiny_body.as_if_pretrained(patch.setattr)
                mesh = partial(sharding.data_mesh, devices)
                patch.setattr(sharding, "data_mesh", lambda: mesh())
                workdir = tmp_path_factory.mktemp("devices") / "run"
                known[devices] = mesh_run.story(drawn, workdir)
        return known[devices]

    return told


def same_story(there, here):
    assert len(here["losses"]) == 3 * 3 + 2 * 3 + 5  # of every step, and of every validation
    np.testing.assert_allclose(there["losses"], here["losses"], rtol=1e-9)
    assert [row["phase"] for row in there["rows"]] == ["head_cached"] * 2 + ["full"] * 3
    for mine, other in zip(here["rows"], there["rows"], strict=True):
        for key in ("trn_loss", "val_loss", "accuracy"):
            assert other[key] == pytest.approx(mine[key], rel=1e-9)
    assert [row["weights"] for row in there["kept"]] == [row["weights"] for row in here["kept"]]
    for mine, other in zip(here["kept"], there["kept"], strict=True):
        assert other["val_loss"] == pytest.approx(mine["val_loss"], rel=1e-9)
        assert other["accuracy"] == mine["accuracy"]
    found, expected = (np.asarray(story["probabilities"]) for story in (there, here))
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_any_number_of_devices_gives_the_same_run(devices, on_devices):
    same_story(on_devices(devices), on_devices(1))


@pytest.mark.slow
def test_two_processes_give_the_same_run(two_processes, on_devices):
    same_story(two_processes["x64"], on_devices(1))


def near(there, here):
    """The first gradient to 1e-5 of its norm, the first three losses to 1e-4."""
    a, b = (np.asarray(steps["gradient"]) for steps in (there, here))
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)
    assert len(set(here["losses"])) == 3
    np.testing.assert_allclose(there["losses"], here["losses"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_in_32_bits_any_number_of_devices_begins_alike(devices):
    near(mesh_run.first_steps(devices), mesh_run.first_steps(1))


@pytest.mark.slow
def test_in_32_bits_two_processes_begin_alike(two_processes):
    near(two_processes["float32"], mesh_run.first_steps(1))


# The command line in two processes.


def command(places, verb, *flags, **environment):
    return start("tiny_main.py", [[place, verb, *flags] for place in places], 1, **environment)


@pytest.mark.slow
def test_one_process_is_told_to_stop_and_all_stop_and_go_on(drawn, two_processes, tmp_path):
    """Here features are streamed from files, and extracted in parts by processes of one device."""
    config = f"--config={SUPPORT / 'mesh_run.py'}:{drawn}"
    run = ["train", config, f"--workdir={tmp_path / 'run'}", "--config.data.cache_memory_gb=0.0"]
    run += [f"--config.cache_dir={tmp_path / 'cache'}"]
    x64 = {"JAX_ENABLE_X64": "1", "TINY_PRETRAINED": "1"}
    codes, out, err = finish(command(("none", "term-step:full:1"), *run, **x64))
    assert codes == [75, 75], err
    assert "of 2 processes" in out[0] and "streamed from disk" in out[0]
    assert "interrupted" in err[0]
    assert "interrupted" not in err[1] and not out[1]
    codes, out, err = finish(command(("none", "none"), *run, **x64))
    assert codes == [0, 0], err
    assert "resuming at step" in out[0] and not out[1]
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    for row, expected in zip(
        map(json.loads, text.splitlines()), two_processes["x64"]["rows"], strict=True
    ):
        assert row["epoch"] == expected["epoch"]
        assert row["trn_loss"] == pytest.approx(expected["trn_loss"], rel=1e-9)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-9)
    codes, out, err = finish(
        command(("none", "none"), "evaluate", f"--workdir={tmp_path / 'run'}", "--tta=1")
    )
    assert codes == [0, 0], err
    assert json.loads(out[0][out[0].index("{") :])["examples"] == 13 and not out[1]


@pytest.mark.slow
def test_what_one_process_cannot_do_fails_in_all_and_is_said_once(drawn, tmp_path):
    def words(folder):
        config = f"--config={SUPPORT / 'tiny_config.py'}:{folder}"
        return ["none", "train", config, f"--workdir={tmp_path / 'run'}"]

    codes, _, err = finish(start("tiny_main.py", [words(drawn), words(tmp_path / "no")], 1))
    assert codes == [2, 2]
    assert "no such folder" in err[0] and err[1] == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_features_of_files_are_gathered_in_order_and_written_once(drawn, tiny, tmp_path):
    config = f"--config={SUPPORT / 'tiny_config.py'}:{drawn}"
    words = ["embed", config, f"--output={tmp_path / 'both.npy'}", str(drawn)]
    codes, out, err = finish(command(("none", "none"), *words))
    assert codes == [0, 0], err
    assert "42 images" in out[0] and not out[1]
    alone = embed.embed(embed.of_config(tiny_config.get_config(drawn)), [str(drawn)])
    np.testing.assert_allclose(np.load(tmp_path / "both.npy"), alone.features, rtol=1e-5, atol=1e-6)
    assert (tmp_path / "both.csv").read_text().splitlines() == ["file", *alone.files]


# Alone.


def test_alone_everything_stays_as_it_is():
    assert hosts.alone() and hosts.is_first() and hosts.count() == 1
    data = {"a": (1, 2)}
    assert hosts.gather(data) == [data] and hosts.gather(data)[0] is data
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(hosts.gather_batches(list(rows.reshape(3, 2, 2))), rows)
    assert hosts.from_first(rows) is rows
    assert hosts.together(lambda: rows) is rows
    hosts.demand_same(data, "never")


def test_alone_a_ballot_is_one_s_own_wish():
    stop = Stop()
    ballot = Ballot(stop)
    assert not ballot() and ballot(True) and not ballot()
    stop.ask()
    assert stop.is_set() and ballot()


def test_auto_joins_nobody_where_there_is_nobody(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", _detects_nothing)
    hosts.join("auto")
    with pytest.raises(UserError, match="cannot join the others") as error:
        hosts.join("on")
    assert "JAX_COORDINATOR_ADDRESS" in error.value.hint
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("no"))
    hosts.join("off")


def _detects_nothing(address, **numbers):
    assert address is None and numbers.keys() == {"heartbeat_timeout_seconds"}
    raise ValueError("coordinator_address should be defined.")  # JAX's own words


def test_the_environment_s_numbers_are_checked_together(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    monkeypatch.setenv("JAX_PROCESS_ID", "-1")
    with pytest.raises(UserError) as error:
        hosts.join("auto")
    assert error.value.offenders == ("JAX_NUM_PROCESSES=two", "JAX_PROCESS_ID=-1")
