"""bench/overfit_simulation.py: the paired test where nothing changes, and what decisions cost."""

import json
import sys

import numpy as np
import overfit_simulation as simulation
import pytest

EXAMPLES = 300
ENDS = 12


def curve(levels, random, trn=None):
    """A curve whose mean losses are about these levels; accuracy never changes."""
    own = random.gamma(1.0, 0.5, EXAMPLES)
    losses = own + np.array(levels)[:, None] + random.normal(0, 0.2, (len(levels), EXAMPLES))
    hits = np.tile(own < 0.5, (len(levels), 1))
    falling = -np.arange(float(len(levels)))
    return simulation.Curve(losses, hits, falling if trn is None else np.array(trn))


def test_without_change_one_comparison_in_44_shows_over_fitting():
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        recorded = curve(np.linspace(2, 0, ENDS), random)  # falls a lot, which the shuffle hides
        null = simulation.without_change(recorded, random)
        pairs = null.losses.reshape(-1, 2, EXAMPLES)
        found += [simulation.paired_t(later, first) > 2 for first, later in pairs]
    assert len(found) == 400 * simulation.WINDOW // 2
    assert 0.01 < np.mean(found) < 0.04  # normal: 0.023


def test_a_shuffled_curve_keeps_every_examples_losses_and_hits_together():
    recorded = curve(np.linspace(1, 0, ENDS), np.random.default_rng(1))
    recorded = recorded._replace(hits=recorded.losses < 0.8)
    null = simulation.without_change(recorded, np.random.default_rng(2))
    assert (null.hits == (null.losses < 0.8)).all()
    window = recorded.losses[ENDS - simulation.WINDOW :]  # the lowest loss is the last
    np.testing.assert_array_equal(np.sort(null.losses, 0), np.sort(window, 0))
    assert (null.losses != window).any() and (np.diff(null.trn) < 0).all()


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_over_fitting_is_stopped_as_soon_as_patience_allows(patience):
    levels = [0.4, 0.3, 0.2, 0.1, 0.3, 0.5, 0.7, 0.9]
    found = curve(levels, np.random.default_rng(0))
    decided = simulation.decide(found)
    assert decided.best.tolist() == [0, 1, 2, 3, 3, 3, 3, 3]
    stops = {(name, waits): stop for name, waits, stop in simulation.rules(decided)}
    assert stops["t=2", patience] == stops["mean rose", patience] == 3 + patience
    judged = simulation.judge(
        found, simulation.is_better_later(found), decided.best, stops["t=2", patience]
    )
    assert judged == {
        "stopped": True, "false": False, "delay": patience, "lost": 0,
        "saved": pytest.approx(1 - (4 + patience) / 8),
    }  # fmt: skip


def test_a_stop_before_a_lower_loss_is_false_and_no_stop_has_no_delay():
    found = curve([0.4, 0.6, 0.8, 0.3, 0.0], np.random.default_rng(0))
    later, decided = simulation.is_better_later(found), simulation.decide(found)
    assert later.tolist() == [True, True, True, True, False]
    stopped = simulation.judge(found, later, decided.best, 2)
    assert stopped["false"] and np.isnan(stopped["delay"])
    went_on = simulation.judge(found, later, decided.best, None)
    assert not went_on["false"] and np.isnan(went_on["delay"]) and went_on["saved"] == 0


def test_what_a_stop_loses_is_the_accuracy_of_the_end_that_came_later():
    found = curve([0.4, 0.5, 0.6, 0.2], np.random.default_rng(0))
    found.hits[2, :], found.hits[3, :] = False, True
    decided = simulation.decide(found)
    later = simulation.is_better_later(found)
    judged = simulation.judge(found, later, decided.best, 2)
    assert judged["lost"] == pytest.approx(1 - found.hits[0].mean())


def test_no_sign_unless_the_training_loss_falls():
    found = curve([0.1, 0.5, 0.6], np.random.default_rng(0), trn=[1.0, 1.1, 0.9])
    decided = simulation.decide(found)
    assert decided.t[0] == decided.t[1] == -np.inf and decided.t[2] > 2
    assert simulation.stop_of(decided.t > 2, 2) is None
    assert simulation.stop_of(decided.rose, 2) == 2


def test_the_command_tells_of_recorded_curves(tmp_path, monkeypatch, capsys):
    recorded = curve([0.4, 0.1, *np.linspace(0.2, 1.2, 10)], np.random.default_rng(0))
    np.savez(tmp_path / "scenes_head.npz", **recorded._asdict())
    words = ["--data=gone", f"--out={tmp_path}", "--sets=scenes", "--kinds=head", "--draws=5"]
    monkeypatch.setattr(sys, "argv", ["overfit_simulation.py", *words])
    simulation.run_all()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["curve"] == "scenes_head" and told[0]["lowest_at"] == 1
    asked = {"rule": "t=2", "images": 1600, "patience": 2}
    (at,) = [one for one in told if asked.items() <= one.items()]
    assert at["stopped"] == 1 and at["false"] == 0 and at["delay"] == 2
    assert len(told) == 1 + len(simulation.SIZES) * (4 * 3 + 1)
