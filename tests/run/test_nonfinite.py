"""Losses that are not finite: a report, steps that are skipped, and rates that are halved."""

import io
import json

import jax.numpy as jnp
import pytest
import tiny_config
from same_end import assert_same_weights, rows, table
from stopping import told_to_stop

from jaxft import run
from jaxft.errors import NonFiniteError
from jaxft.recipe import optim
from jaxft.runtime.console import Console
from jaxft.training import guard, step_losses
from jaxft.workdir import checkpoint, saving
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.snapshot import unpack


@pytest.fixture
def fails_from(monkeypatch):
    """Lets a step at such a rate, or above, leave weights that are not finite."""
    apply = optim.apply

    def arm(least, most=float("inf")):
        def failing(params, directions, lr):
            bad = (lr >= least) & (lr <= most)
            return apply(params, directions, jnp.where(bad, jnp.inf, lr))

        monkeypatch.setattr(optim, "apply", failing)

    return arm


def head(drawn, **changes):
    """Four epochs of three steps; the rate rises by 0.071 a step to 0.5."""
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[:1]
    config.phases[0].update({"lr": 0.5, "epochs": 4, "warmup_epochs": 2.0})
    config.update(changes)
    return config


def report(workdir):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads((workdir / "nonfinite.json").read_text(), parse_constant=refuse)


@pytest.mark.slow
def test_a_run_that_stops_reports_the_step_and_its_batch(drawn, tiny, tmp_path, fails_from):
    fails_from(0.5)
    with pytest.raises(NonFiniteError) as caught:
        run.train(head(drawn), tmp_path / "run")
    told = str(caught.value)
    assert "the loss is nan at step 7 of the phase head_cached, at a rate of 5.00e-01" in told
    assert "With the weights of checkpoint 2 that batch has a loss of" in told
    assert "finite gradients, so the weights have diverged since" in told
    assert str(tmp_path / "run" / "nonfinite.json") in told
    found = report(tmp_path / "run")
    assert (found["phase"], found["epoch"], found["step"]) == ("head_cached", 2, 7)
    assert found["rates"] == {"head": pytest.approx(0.5)}
    assert found["weights"] == {"checkpoint": 2, "step": 6}
    assert found["gradient_norms"]["head"] > 0 and found["parameter_norms"]["head"] > 0
    names = [one["name"] for one in found["examples"]]
    assert len(set(names)) == 8 and all(name.endswith(".png") for name in names)
    assert all(0 < one["loss"] < 100 for one in found["examples"])
    # The same command goes on from the last checkpoint, if it may halve the rate.
    summary = run.train(head(drawn, on_nonfinite="rewind"), tmp_path / "run")
    assert summary["phases"][0]["rewinds"] == [6] and len(table(tmp_path / "run")) == 4


@pytest.mark.slow
def test_the_reports_batch_is_that_of_the_step(drawn, tiny, tmp_path, monkeypatch):
    """Losses at the run's first weights, of the first step: their mean is the step's own."""
    losses = []

    def demanding(number, loss):
        losses.append(loss)
        raise NonFiniteError("the loss is said to be nan at step 0 of the phase", step=0)

    monkeypatch.setattr(step_losses, "demand_finite", demanding)
    for name, inputs, parts in (("cached", "cached", 1), ("augmented", "augmented", 2)):
        config = head(drawn)
        config.data.batch_size = 16  # two for each of eight devices
        config.phases[0].update({"inputs": inputs, "microbatches": parts})
        with pytest.raises(NonFiniteError):
            run.train(config, tmp_path / name)
        found = report(tmp_path / name)
        assert found["weights"] == {"checkpoint": 0, "step": 0}
        mean = sum(one["loss"] for one in found["examples"]) / 16
        assert mean == pytest.approx(losses[-1], rel=1e-5)
    assert losses[0] != losses[-1]


@pytest.mark.slow
def test_a_validation_loss_that_is_not_finite_names_the_images(drawn, tiny, tmp_path, fails_from):
    fails_from(0.2, 0.22)  # the third step, the epoch's last
    with pytest.raises(NonFiniteError, match="after validation the loss is nan at step 3"):
        run.train(head(drawn), tmp_path / "run")
    found = report(tmp_path / "run")
    assert len(found["valid_examples"]) == 13 and "examples" not in found
    assert found["step"] is None


@pytest.mark.slow
def test_a_run_goes_back_to_its_checkpoint_at_half_the_rate(drawn, tiny, tmp_path, fails_from):
    fails_from(0.25)
    said = io.StringIO()
    config = head(drawn, on_nonfinite="rewind")
    summary = run.train(config, tmp_path / "run", Console(said))
    (phase,) = summary["phases"]
    assert (phase["rewinds"], phase["lr"]) == ([3, 6], 0.125) and phase["epochs"] == 4
    told = said.getvalue()
    assert "back to step 3 of the run at half the rate, 2.50e-01 (rewind 1 of 3)" in told
    assert "back to step 6 of the run at half the rate, 1.25e-01 (rewind 2 of 3)" in told
    rates = [row["lr"]["head"] for row in table(tmp_path / "run")]
    assert rates == pytest.approx([3 / 14, 3 / 14, 0.125, 0.125])
    assert not (tmp_path / "run" / "nonfinite.json").exists()
    with told_to_stop_after_rewinding(tmp_path / "stopped"):
        run.train(config, tmp_path / "stopped")
    run.train(config, tmp_path / "stopped")
    assert_same_weights(tmp_path / "stopped", tmp_path / "run")


def told_to_stop_after_rewinding(workdir):
    """A run that stops in its third epoch, after both rewinds."""

    def when():
        return len(rows(workdir / "metrics.jsonl")) == 2

    return told_to_stop(pytest.MonkeyPatch(), 7, when)


@pytest.mark.slow
def test_a_run_that_is_killed_as_it_goes_back_ends_the_same(
    drawn, tiny, tmp_path, fails_from, monkeypatch
):
    """Killed before the checkpoint that halves the rate is written, and right after."""
    fails_from(0.4)
    config = head(drawn, on_nonfinite="rewind")
    run.train(config, tmp_path / "whole")
    save, calls = saving.Checkpoints.save, list[int]()

    class Killed(BaseException):
        pass

    def saving_or_killed(self, number, stored):
        if stored.cursor["phase"]["rewinds"] and len(calls) < 2:
            calls.append(1)
            if len(calls) == 2:
                save(self, number, stored)
            raise Killed
        save(self, number, stored)

    monkeypatch.setattr(saving.Checkpoints, "save", saving_or_killed)
    for _ in range(2):
        with pytest.raises(Killed):
            run.train(config, tmp_path / "killed")
    run.train(config, tmp_path / "killed")
    assert len(calls) == 2
    assert_same_weights(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_rewinds_come_to_an_end(drawn, tiny, tmp_path, fails_from):
    fails_from(0.05)
    config = head(drawn, on_nonfinite="rewind", nonfinite_rewinds=2)
    with pytest.raises(NonFiniteError, match=r"at a rate of 1\.25e-01"):
        run.train(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ended_by"] == "nonfinite"
    assert summary["diverged"] == {"phase": "head_cached", "lr": 0.125}
    assert report(tmp_path / "run")["rewinds"] == [0, 0]
    config.phases[0].lr = 0.04  # begins again, at that rate and without a rewind
    (phase,) = run.train(config, tmp_path / "run")["phases"]
    assert phase["lr"] == 0.04 and "rewinds" not in phase


@pytest.mark.slow
def test_steps_that_are_not_finite_are_skipped_and_told(drawn, tiny, tmp_path, fails_from):
    fails_from(0.12, 0.16)  # the second step alone
    said = io.StringIO()
    config = head(drawn, on_nonfinite="skip")
    summary = run.train(config, tmp_path / "run", Console(said))
    assert [row["skipped"] for row in table(tmp_path / "run")] == [1, 0, 0, 0]
    assert summary["phases"][0]["skipped"] == 1
    assert said.getvalue().count("changed nothing: its loss or a gradient is not finite") == 1
    assert "step 1 changed nothing" in said.getvalue()
    losses = [row["trn_loss"] for row in table(tmp_path / "run")]
    assert 0 < losses[0] < 5 and losses[-1] < losses[0]


@pytest.mark.slow
def test_too_many_skipped_in_a_row_stop_the_run_where_it_stands(drawn, tiny, tmp_path, fails_from):
    fails_from(0.4)  # from the sixth step on
    config = head(drawn, on_nonfinite="skip", nonfinite_skips=3)
    with pytest.raises(NonFiniteError, match="in 4 steps in a row, up to step 8 of") as caught:
        run.train(config, tmp_path / "run")
    found = report(tmp_path / "run")
    saved = checkpoint.read_newest(tmp_path / "run")
    assert found["weights"]["step"] == Cursor.of(saved.cursor).phase.step == 9
    assert found["skipped"] == 4
    assert "so it is the update that is not finite" in str(caught.value)
    guard.demand_finite(unpack(saved).weights, ("early", "late", "head"), 9)


@pytest.mark.slow
def test_an_epoch_of_nothing_but_skipped_steps_stops_the_run(drawn, tiny, tmp_path, fails_from):
    fails_from(0.5)
    config = head(drawn, on_nonfinite="skip")
    config.phases[0].warmup_epochs = 0.0
    for _ in range(2):  # and the same command says the same
        with pytest.raises(NonFiniteError, match="in all steps of epoch 0 of the phase"):
            run.train(config, tmp_path / "run")
