"""Changes of config that a run takes in its workdir, and those that it refuses, with the reason."""

import json
from dataclasses import asdict

import pytest
from places import SUPPORT

from jaxft.cli.config_file import load_config
from jaxft.config.load import from_dict
from jaxft.config.plain import as_dict
from jaxft.errors import UserError
from jaxft.runtime.console import Console
from jaxft.workdir import checkpoint, going_on
from jaxft.workdir.cursor import Cursor, PhaseCursor
from jaxft.workdir.rows import read_object

MAX_CYCLES = "phases[2].max_cycles"


@pytest.fixture
def run(tmp_path, tiny, monkeypatch):
    """Makes a workdir, given its cursor, `key=value` of its config, and other files of it."""

    def make(cursor, *overrides, **files):
        stored = json.loads(json.dumps(asdict(cursor)))
        monkeypatch.setattr(checkpoint, "steps", lambda _: [1, 7, 8])
        monkeypatch.setattr(checkpoint, "newest_cursor", lambda _: stored)
        about = {"config": plain(*overrides), "data": {"train": 29}, **files}
        for name, data in about.items():
            lines = json.dumps(data)
            if name == "starts":
                lines = "".join(json.dumps({"ended_by": end}) + "\n" for end in data)
            (tmp_path / f"{name}.json{'l' * (name == 'starts')}").write_text(lines)
        return tmp_path

    return make


def plain(*overrides):
    words = [f"--config.{one}" for one in overrides]
    return as_dict(load_config(f"{SUPPORT / 'tiny_config.py'}:nowhere", words))


def over(ended_by="max_cycles", **changes):
    """The cursor of a run whose three phases have ended."""
    phases = [{"name": name, "ended_by": "epochs"} for name in ("head_cached", "head_augmented")]
    phases.append({"name": "full", "ended_by": ended_by})
    return Cursor(**{"phase_index": 3, "phases": phases, "back_to": 7, **changes})


def within(index, rate=0.01):
    """The cursor of a run in the middle of a phase."""
    return Cursor(phase_index=index, phase=PhaseCursor(step=3, lr=rate), back_to=min(index, 1))


def refusal(workdir, *overrides):
    with pytest.raises(UserError) as caught:
        going_on.check(workdir, plain(*overrides))
    return "\n".join(caught.value.offenders)


CONSTANT, ONE_CYCLE = "phases[2].schedule=constant", "phases[2].schedule=one_cycle"
WARM = "phases[2].warmup_epochs=1"
ADMITTED = [
    (over(), [], [f"{MAX_CYCLES}=3"]),
    (over(), ["phases[2].cycles=2"], ["phases[2].cycles=3"]),
    (over(), [CONSTANT], ["phases[2].epochs=2"]),
    (over("overfit"), [], ["overfit.patience=3", f"{MAX_CYCLES}=3"]),
    (over(), [], ["overfit.patience=3"]),
    (within(2), [], [f"{MAX_CYCLES}=9"]),
    # A phase that is yet to begin may change in whatever depends on its length.
    (within(1), [ONE_CYCLE], ["phases[2].epochs=2"]),
    (within(1), [WARM], [f"{MAX_CYCLES}=3"]),
]


@pytest.mark.parametrize("cursor, config, changes", ADMITTED)
def test_a_longer_last_phase_is_admitted(run, cursor, config, changes):
    told = going_on.check(run(cursor, *config), plain(*config, *changes))
    assert [line.partition(":")[0] for line in told] == [one.partition("=")[0] for one in changes]


REFUSED = [
    (over(), [], [f"{MAX_CYCLES}=1"], f"{MAX_CYCLES}: 2 there, 1 now; it can be made longer, not"),
    (over(), [], ["phases[1].cycles=3"], "only the last phase can be made longer"),
    (over(), [], ["phases[2].epochs=3"], "it is max_cycles that makes this phase longer"),
    (over(), [], ["phases[2].cycles=3"], "not shorter"),
    (over("overfit"), [], [f"{MAX_CYCLES}=3"], "--config.overfit.patience=3 lets it go on"),
    (over(back_to=6), [], [f"{MAX_CYCLES}=3"], "the state at the phase's end is not there"),
    (over("overfit", back_to=6), [], ["overfit.patience=3"], "phase's end is not there"),
    (over(), [], ["overfit.patience=1"], "it can be raised, not lowered"),
    (within(2), [WARM], [f"{MAX_CYCLES}=3"], "its warm-up took 3 steps"),
    (over(), [ONE_CYCLE], ["phases[2].epochs=2"], "depends on their number"),
    (over(), [], ["phases[2].lr=0.01"], "rates stay, unless the loss is no longer finite"),
]


@pytest.mark.parametrize("cursor, config, changes, reason", REFUSED)
def test_what_would_be_another_run_is_refused(run, cursor, config, changes, reason):
    assert reason in refusal(run(cursor, *config), *config, *changes)


def test_any_other_change_is_refused_with_all_that_differs(run):
    told = refusal(run(over()), f"{MAX_CYCLES}=3", "seed=1")
    assert told.splitlines() == [f"{MAX_CYCLES}: 2 there, 3 now", "seed: 0 there, 1 now"]


def test_a_patience_that_an_earlier_phase_would_have_had_is_refused(run):
    cursor = over()
    cursor.phases[1]["ended_by"] = "overfit"
    told = refusal(run(cursor), "overfit.patience=3")
    assert "head_augmented ended by over-fitting before" in told


def test_the_same_config_is_no_change(run):
    assert going_on.check(run(over()), plain()) == []
    assert going_on.check(run(over()), plain("data.threads=1")) == []


DIVERGED = {"ended_by": "nonfinite", "diverged": {"phase": "head_augmented", "lr": 0.3}}


@pytest.mark.parametrize(
    "now",
    [["phases[1].lr=0.1"], ["phases[2].lr=7.0"], ["phases[1].lr=0.1", "phases[2].lr=previous"]],
)
def test_rates_change_after_a_loss_that_was_not_finite(run, now):
    told = going_on.check(run(within(1), summary=DIVERGED), plain(*now))
    assert [line.partition(":")[0] for line in told] == [one.partition("=")[0] for one in now]


@pytest.mark.parametrize(
    "cursor, now, reason",
    [
        (within(1), "phases[1].lr=0.3", "it should be a number below 0.3"),
        (within(1), "phases[1].lr=find", "it should be a number below 0.3"),
        (within(1), "phases[0].lr=0.1", "this phase is over"),
        (within(2), "phases[1].lr=0.1", "this phase is over"),
        (Cursor(phase_index=1, back_to=5), "phases[1].lr=0.1", "begin is not there"),
        (within(1), "optimizer.clip_norm=1.0", "optimizer.clip_norm: 0.0 there, 1.0 now"),
    ],
)
def test_rates_that_do_not_mend_it_are_refused(run, cursor, now, reason):
    assert reason in refusal(run(cursor, summary=DIVERGED), now)


def test_a_run_that_had_ended_keeps_its_phase(run):
    workdir = run(within(1), summary=DIVERGED, starts=["interrupted", "max_cycles", "nonfinite"])
    assert "had ended before" in refusal(workdir, "phases[1].lr=0.1")


def test_a_finished_summary_is_marked_before_the_run_goes_on(run):
    workdir = run(over(), summary={"ended_by": "max_cycles", "accuracy": 0.9, "diverged": {}})
    going_on.note(workdir, [], Console(None))
    assert json.loads((workdir / "summary.json").read_text())["ended_by"] == "max_cycles"
    going_on.note(workdir, ["a line"], Console(None))
    summary = read_object(workdir / "summary.json")
    assert summary == {"ended_by": "interrupted", "accuracy": 0.9}


def test_a_finished_run_names_the_key_with_which_it_goes_on(tmp_path, tiny):
    def told(*overrides):
        return going_on.finished_in_words(tmp_path, from_dict(plain(*overrides)))

    assert told().endswith("finished; with a larger --config.phases.full.max_cycles it goes on")
    assert told("phases[2].cycles=2").endswith(
        "with a larger --config.phases.full.cycles it goes on"
    )
    assert told(CONSTANT).endswith("with a larger --config.phases.full.epochs it goes on")
    assert told(ONE_CYCLE).endswith("already holds this run, finished")
