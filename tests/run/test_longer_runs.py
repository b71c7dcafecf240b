"""Runs that go on: with a longer last phase, or with a lower rate after exit code 3."""

import json

import pytest
import tiny_config
from same_end import assert_same_weights, rows, table
from stopping import told_to_stop

from jaxft import run
from jaxft.errors import NonFiniteError, UserError
from jaxft.materials import seed
from jaxft.recipe import overfit
from jaxft.training import step_losses
from jaxft.workdir import checkpoint


def assert_same_end(workdir, wanted):
    assert_same_weights(workdir, wanted)
    ours, theirs = (json.loads((place / "summary.json").read_text()) for place in (workdir, wanted))
    assert ours["best"] == theirs["best"] and ours["ended_by"] == theirs["ended_by"]
    assert ours.get("kept", {}).get("chosen") == theirs.get("kept", {}).get("chosen")


def body_alone(drawn, **phase):
    """A config of one phase that trains the whole network until it over-fits."""
    config = tiny_config.get_config(drawn)
    config.phases = config.phases[2:]
    config.phases[0].update({"lr": 0.01, "cycle_mult": 1, **phase})
    return config


@pytest.mark.slow
@pytest.mark.parametrize("averages", [0, 3])
def test_a_finished_run_goes_on_as_if_it_had_been_longer(drawn, tiny, tmp_path, averages):
    workdir, wanted = tmp_path / "run", tmp_path / "whole"
    config = tiny_config.get_config(drawn)
    config.average_cycles = averages
    run.train(config, workdir)
    config.phases[2].max_cycles = 3
    run.train(config, workdir)
    run.train(config, wanted)
    assert len(table(wanted)) == 4 + 7
    assert_same_end(workdir, wanted)
    (changed,) = [row for row in rows(workdir / "starts.jsonl") if "changes" in row]
    assert changed["changes"] == ["phases[2].max_cycles: 2 there, 3 now"]
    assert (changed["from_step"], changed["to_step"]) == (21, 33)
    config.phases[2].max_cycles = 2
    with pytest.raises(UserError, match="max_cycles: 3 there, 2 now; it can be made longer, not"):
        run.train(config, workdir)


@pytest.mark.slow
def test_over_fitting_that_is_given_more_patience_goes_on(drawn, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(overfit, "signs", lambda *_: True)
    workdir, wanted = tmp_path / "run", tmp_path / "whole"
    config = body_alone(drawn, max_cycles=5)
    assert run.train(config, workdir)["ended_by"] == "overfit"
    config.phases[0].max_cycles = 6
    with pytest.raises(UserError, match=r"over-fitting; --config\.overfit\.patience=3"):
        run.train(config, workdir)
    config.phases[0].max_cycles, config.overfit.patience = 5, 3
    assert run.train(config, workdir)["ended_by"] == "overfit"
    run.train(config, wanted)
    assert len(table(workdir)) == 4  # the first cycle end has nothing to be compared with
    assert_same_end(workdir, wanted)


@pytest.fixture
def diverging(monkeypatch):
    """Lets the loss be no number from a step of the second phase on, while this says so."""
    at: list[int] = []
    demand = step_losses.demand_finite

    def demanding(number, loss):
        demand(number, float("nan") if [number] == at else loss)

    monkeypatch.setattr(step_losses, "demand_finite", demanding)
    return at


def two_phases(drawn, rate):
    config = tiny_config.get_config(drawn)
    config.phases = (config.phases[0], config.phases[2])
    config.phases[0].update({"lr": 0.1, "epochs": 1})
    config.phases[1].update({"lr": rate, "max_cycles": 5, "cycle_mult": 1})
    return config


@pytest.mark.slow
def test_a_lower_rate_begins_the_phase_again(drawn, tiny, tmp_path, diverging):
    workdir, wanted = tmp_path / "run", tmp_path / "whole"
    diverging.append(13)
    with pytest.raises(NonFiniteError) as caught:
        run.train(two_phases(drawn, 0.3), workdir)
    assert "nan at step 13 of the phase full, at a rate of 3.00e-01" in str(caught.value)
    assert "--config.phases.full.lr=1.0e-01" in str(caught.value)
    assert checkpoint.steps(workdir) == [1, 4, 5]  # the phase's begin, and the newest two
    diverging.clear()
    run.train(two_phases(drawn, 0.1), workdir)
    run.train(two_phases(drawn, 0.1), wanted)
    assert_same_end(workdir, wanted)
    last = rows(workdir / "starts.jsonl")[-1]
    assert last["changes"] == ["phases[1].lr: 0.3 there, 0.1 now"]
    assert last["from_step"] == 3


@pytest.mark.slow
def test_a_lower_rate_of_the_first_phase_begins_the_run_again(drawn, tiny, tmp_path, diverging):
    workdir, wanted = tmp_path / "run", tmp_path / "whole"
    diverging.append(5)
    with pytest.raises(NonFiniteError):
        run.train(body_alone(drawn), workdir)
    diverging.clear()
    run.train(body_alone(drawn, lr=0.001), workdir)
    run.train(body_alone(drawn, lr=0.001), wanted)
    assert_same_end(workdir, wanted)


@pytest.mark.slow
def test_a_longer_run_that_diverges_keeps_what_it_had(drawn, tiny, tmp_path, diverging):
    workdir = tmp_path / "run"
    run.train(body_alone(drawn), workdir)
    diverging.append(7)
    with pytest.raises(NonFiniteError, match=r"jaxft train --from=.*run --phase=full"):
        run.train(body_alone(drawn, max_cycles=3), workdir)
    with pytest.raises(UserError, match="the run had ended before"):
        run.train(body_alone(drawn, max_cycles=3, lr=0.001), workdir)
    diverging.clear()
    assert run.train(body_alone(drawn, max_cycles=3), workdir)["phases"][0]["epochs"] == 3


class TestARunFromAnothersWeights:
    @pytest.fixture
    def config(self, finished, drawn, tiny):
        config = tiny_config.get_config(drawn)
        config.phases = config.phases[:1]
        config.phases[0].update({"lr": 0.01, "epochs": 3})
        config.init_from = str(finished)
        return config

    @pytest.fixture
    def as_before(self, config, tmp_path, monkeypatch):
        """The workdir of a run that draws by its config's seed, stopped in its second epoch."""
        with monkeypatch.context() as patch:
            patch.setattr(seed, "mix", lambda own, _: own)
            run.train(config, tmp_path / "whole")
            with told_to_stop(monkeypatch, 4):
                run.train(config, tmp_path / "before")
        about = {"init_from": config.init_from}  # all that weights.json said
        (tmp_path / "before" / "weights.json").write_text(json.dumps(about))
        return tmp_path / "before"

    @pytest.mark.slow
    def test_it_draws_afresh_and_resumes_to_the_bit(self, config, tmp_path, monkeypatch):
        run.train(config, tmp_path / "whole")
        with told_to_stop(monkeypatch, 4):
            run.train(config, tmp_path / "run")
        run.train(config, tmp_path / "run")
        assert_same_end(tmp_path / "run", tmp_path / "whole")
        monkeypatch.setattr(seed, "mix", lambda own, _: own)
        run.train(config, tmp_path / "repeated")
        losses = [table(tmp_path / name)[0]["trn_loss"] for name in ("repeated", "run")]
        assert losses[0] != losses[1]

    @pytest.mark.slow
    def test_one_that_began_with_its_config_s_seed_keeps_it(self, config, as_before, tmp_path):
        run.train(config, as_before)
        assert_same_end(as_before, tmp_path / "whole")
