"""Averages of cycle ends: their numbers, the soup's choice, their statistics, what wins."""

import dataclasses
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest
import tiny

from jaxft.evaluation.metrics import Evaluation
from jaxft.models.variables import Weights
from jaxft.runtime import digests
from jaxft.training import averaging, rebase
from jaxft.training.averaging import Average, greedy, judge, mean, winner_of
from jaxft.training.cycle_ends import Kept
from jaxft.training.train_state import TrainBatch
from jaxft.workdir.kept_weights import End

NET = tiny.model()
LABELS = np.arange(20) % 2
ENDS = [End("full", epoch) for epoch in (0, 2, 6)]


def evaluation(right: int, loss: float) -> Evaluation:
    """An evaluation with so many right answers, and a loss with some spread."""
    probabilities = np.eye(2)[np.where(np.arange(20) < right, LABELS, 1 - LABELS)]
    return Evaluation(loss + 0.01 * np.sin(np.arange(20.0)), probabilities, LABELS)


def test_the_average_is_the_plain_mean_of_every_array():
    members = [tiny.weights(NET), jax.tree.map(lambda leaf: 3 * leaf, tiny.weights(NET))]
    found = mean(members)
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(lambda a: 2 * a, members[0]))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_the_average_is_computed_in_float64():
    """In float32, 1 added to 2^25 is lost: (2^25 + 1 + 1 - 2^25) / 4 would be 0."""
    numbers = [2.0**25, 1.0, 1.0, -(2.0**25)]
    members = [Weights({"head": np.full(3, n, np.float32)}, {}) for n in numbers]
    np.testing.assert_array_equal(mean(members).params["head"], np.full(3, 0.5, np.float32))


SINGLES = dict(zip(ENDS, map(evaluation, (15, 18, 17), (0.5, 0.3, 0.4)), strict=True))


class TestTheGreedySoup:
    def soup(self, answers, best_by="accuracy"):
        """Epochs chosen, and those tried in turn, where averages do as `answers` say."""
        tried = []

        def average(ends):
            tried.append([end.epoch for end in ends])
            return evaluation(*answers[len(tried) - 1])

        return [end.epoch for end in greedy(SINGLES, best_by, average)], tried

    def test_begins_with_the_best_and_tries_the_others_by_their_rank(self):
        chosen, tried = self.soup([(19, 0.3), (19, 0.3)])
        assert tried == [[2, 6], [0, 2, 6]]
        assert chosen == [0, 2, 6], "an average that is as good is no worse"

    def test_leaves_out_what_makes_it_worse(self):
        chosen, tried = self.soup([(17, 0.1), (18, 0.2)])
        assert tried == [[2, 6], [0, 2]]
        assert chosen == [0, 2]
        assert self.soup([(18, 0.31), (18, 0.31)])[0] == [2], "ties go by the loss"

    def test_goes_by_the_loss_where_the_run_does(self):
        chosen, _ = self.soup([(10, 0.29), (20, 0.295)], "val_loss")
        assert chosen == [2, 6]

    def test_refuses_an_average_that_is_no_number(self):
        assert self.soup([(18, np.nan), (17, np.nan)])[0] == [2]


def averages(*figures):
    return [
        Average(str(n), tuple(ENDS[: n + 2]), Weights({}, {}), evaluation(*both))
        for n, both in enumerate(figures)
    ]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([(18, 0.2), (18, 0.3)], "0"),
        ([(18, 0.3), (18, 0.2)], "1"),
        ([(18, 0.2), (18, 0.2)], "0"),
        ([(18, 0.4), (18, 0.5)], None),
        ([(17, 0.1), (18, 0.4)], None),
        ([(17, 0.1), (19, 0.3)], "1"),
    ],
)
def test_the_first_that_beats_the_best_epoch_wins_unless_the_next_beats_it_too(figures, expected):
    winner = winner_of(averages(*figures), evaluation(18, 0.4))
    assert (winner and winner.name) == expected


def test_one_cycle_end_is_no_average():
    one = Average("soup", (ENDS[0],), Weights({}, {}), evaluation(20, 0.1))
    assert winner_of([one], evaluation(18, 0.4)) is None


def judged(losses, raw=None, ends=ENDS):
    """Rows and winner where weights are numbers, and each number has its loss."""

    def weights(number):
        return Weights({"head": np.full(1, number)}, {"head": np.zeros(1)})

    def evaluate(found):
        loss = losses[float(found.params["head"][0])]
        return evaluation(18, loss - 0.01 * found.batch_stats["head"][0])

    def measured(found):
        return Weights(found.params, {"head": np.ones(1)})

    kept = Kept({end: weights(float(end.epoch)) for end in ends}, raw and weights(raw), [])
    return judge(kept, weights(-1.0), "accuracy", evaluate, measured)


def test_every_end_and_what_is_made_of_them_is_told_beside_the_best_epoch():
    # The mean of 0, 2 and 6 is 8/3; the soup tries 6 and 2, whose mean is 4, then all.
    losses = {-1.0: 0.3, 0.0: 0.6, 2.0: 0.5, 6.0: 0.4, 4.0: 0.2, 8 / 3: 0.25, 7.0: 0.45}
    rows, winner = judged(losses, raw=7.0)
    assert [row["weights"] for row in rows] == [
        "best epoch",
        "full, epoch 0",
        "full, epoch 2",
        "full, epoch 6",
        "the last of them, raw",
        "the last of them, remeasured",
        "SWA of 3 cycle ends",
        "greedy soup of 2 cycle ends",
        "ensemble of 3 cycle ends",
    ]
    found = [round(row["val_loss"], 2) for row in rows[:8]]
    assert found == [0.3, 0.6, 0.5, 0.4, 0.45, 0.39, 0.24, 0.19]
    assert rows[7]["ends"] == ["full-2", "full-6"]
    assert winner is not None and winner.name == "greedy soup of 2 cycle ends"
    assert winner.weights.params["head"] == 4.0
    assert winner.weights.batch_stats["head"] == 1.0, "with statistics of its own"


def test_fewer_than_two_ends_make_no_average():
    rows, winner = judged({-1.0: 0.3, 0.0: 0.1}, ends=ENDS[:1])
    assert [row["weights"] for row in rows] == ["best epoch", "full, epoch 0"]
    assert winner is None
    assert len(judged({-1.0: 0.3}, ends=[])[0]) == 1


def test_an_average_is_recorded_at_its_last_cycle_end():
    best = {"phase": "head", "epoch": 1, "trn_loss": 0.5, "val_loss": 0.4, "accuracy": 0.8}
    (average,) = averages((19, 0.3))
    found = averaging.record({**best, "image_size": 16}, average)
    assert found.pop("val_loss") == pytest.approx(0.3, abs=0.01)
    place = {"phase": "full", "epoch": 2, "trn_loss": 0.5, "image_size": 16}
    assert found == {**place, "accuracy": 0.95, "average": "0"}


# Statistics of averaged weights.

SPEC = tiny.spec(NET, tiny.phase(groups=tiny.ALL_GROUPS), batch_size=40, examples=40)


@cache
def with_statistics(devices: int = 1, bn: Any = "train", microbatches: int = 1) -> Weights:
    with jax.enable_x64(True):
        materials = tiny.materials(None, devices=devices, batch_size=40)
        phase = dataclasses.replace(SPEC.phase, bn=bn, microbatches=microbatches)
        spec = dataclasses.replace(SPEC, phase=phase)
        measured = rebase.make_measured(spec, materials, spec.training)
        return measured(tiny.weights(NET, np.float64))


def by_the_step() -> Weights:
    """The same batch's statistics as the train step finds them: its running ones, undone."""
    with jax.enable_x64(True):
        start = tiny.weights(NET, np.float64)
        data = tiny.canvases(53)
        batch = TrainBatch(data.inputs[:40], data.label[:40])
        after, _ = tiny.train(SPEC, start, batch, lr=0.0)
        return Weights(
            after.params,
            jax.tree.map(lambda old, new: (new - 0.9 * old) / 0.1, *map(_stats, (start, after))),
        )


def _stats(weights: Weights):
    return dict(weights.batch_stats)


@pytest.mark.slow
def test_statistics_are_those_that_a_step_normalises_by():
    """With the same views and dropout, in the body and in the head."""
    found, wanted = (digests.flat(w.batch_stats) for w in (with_statistics(), by_the_step()))
    assert found.keys() == wanted.keys() and any("head" in name for name in found)
    for name, value in found.items():
        # A step's variance is the unbiased one.
        count = {"early": 40 * 8 * 8, "late": 40 * 4 * 4, "head": 40}[name.split(".")[0]]
        scale = count / (count - 1) if name.endswith("var") else 1.0
        np.testing.assert_allclose(scale * value, wanted[name], rtol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "bn", "microbatches"), [(8, "train", 1), (2, "per_device", 2)])
def test_any_mesh_finds_the_same_statistics(devices, bn, microbatches):
    found, wanted = with_statistics(devices, bn, microbatches), with_statistics()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), found, wanted)


@pytest.mark.slow
def test_groups_whose_statistics_did_not_follow_the_batch_keep_them():
    before, after = tiny.weights(NET, np.float64), with_statistics(bn="frozen")
    for group in ("early", "late"):
        jax.tree.map(
            np.testing.assert_array_equal, after.batch_stats[group], before.batch_stats[group]
        )
    assert not np.array_equal(
        after.batch_stats["head"]["bn0"]["mean"], before.batch_stats["head"]["bn0"]["mean"]
    )
    assert digests.digest(after.params) == digests.digest(before.params)


def test_weights_without_batch_normalisation_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(rebase, "pooled_over", None)
    weights = Weights({"head": np.ones(2)}, {"head": {}})
    measured = rebase.make_measured(SPEC, tiny.materials(None), {"head"})
    assert measured(weights) is weights
