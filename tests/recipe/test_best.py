"""The best epoch of a run by one criterion, and the advice if the head stays the best."""

import dataclasses

import pytest

from jaxft.config import load
from jaxft.configs import base
from jaxft.recipe import best_epoch
from jaxft.report import advice


@pytest.mark.parametrize(
    ("best_by", "val_loss", "accuracy", "expected"),
    [
        ("val_loss", 0.9, 0.7, True),
        ("val_loss", 1.1, 0.9, False),
        ("val_loss", 1.0, 0.9, True),
        ("val_loss", 1.0, 0.8, False),
        ("accuracy", 1.1, 0.9, True),
        ("accuracy", 0.9, 0.7, False),
        ("accuracy", 0.9, 0.8, True),
        ("accuracy", 1.0, 0.8, False),
    ],
)
def test_an_epoch_is_better_by_the_measure_asked_for(best_by, val_loss, accuracy, expected):
    row = {"val_loss": val_loss, "accuracy": accuracy}
    assert best_epoch.better(row, {"val_loss": 1.0, "accuracy": 0.8}, best_by) is expected
    assert best_epoch.better(row, None, best_by)


SETTINGS = load.read(base.get_config())
FULL = {
    "name": "full",
    "best_epoch": 3,
    "epochs": 7,
    "lr": 3e-3,
    "val_loss": 1.25,
    "accuracy": 0.708,
    "ended_by": "max_cycles",
}
HEAD = {"phase": "head_cached", "epoch": 1}


def test_advice_is_given_where_the_head_stays_the_best_alone():
    said = advice.advice(SETTINGS, HEAD, [FULL])
    assert said is not None and "did not beat the head" in said and "0.7080" in said
    assert advice.advice(SETTINGS, {"phase": "full", "epoch": 3}, [FULL]) is None
    assert advice.advice(SETTINGS, HEAD, []) is None, "the body is yet to be trained"
    assert advice.advice(SETTINGS, None, []) is None


def test_advice_names_what_has_not_been_tried():
    def said(told=FULL, optimizer="adamw", bn="rebased"):
        phases = (*SETTINGS.phases[:2], dataclasses.replace(SETTINGS.phases[2], bn=bn))
        opt = dataclasses.replace(SETTINGS.optimizer, name=optimizer)
        return advice.advice(
            dataclasses.replace(SETTINGS, phases=phases, optimizer=opt), HEAD, [told]
        )

    sgd = said(optimizer="sgd", bn="train")
    assert (
        "phases.full.bn=rebased --config.optimizer.name=adamw --config.phases.full.lr=1e-3" in sgd
    )
    assert "optimizer.name" not in said(bn="train") and "bn=" not in said(optimizer="sgd")
    assert "a lower rate (--config.phases.full.lr=1.0e-03)" in said()
    assert "phases.full.max_cycles=7" in said({**FULL, "best_epoch": 6})
    assert "a lower rate" in said({**FULL, "best_epoch": 6, "ended_by": "overfit"})
