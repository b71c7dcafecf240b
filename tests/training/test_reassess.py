"""The best weights of a run, measured anew where images have another size."""

import io

import numpy as np
import tiny

from jaxft.evaluation.metrics import Evaluation
from jaxft.runtime.console import Console
from jaxft.training import fit
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.snapshot import Best, Snapshot


def test_nothing_of_the_other_size_is_left(tmp_path, monkeypatch):
    there = Evaluation(np.full(4, 0.5), np.full((4, 2), 0.5), np.zeros(4, int))
    here = Evaluation(np.full(4, 0.25), np.tile([0.75, 0.25], (4, 1)), np.zeros(4, int))
    monkeypatch.setattr(fit, "evaluate_weights", lambda *_: here)
    materials = tiny.materials(tmp_path)._replace(console=Console(io.StringIO()))
    weights = tiny.weights(materials.model)
    row = {"phase": "head", "epoch": 1, "trn_loss": 0.1, "val_loss": 0.5, "accuracy": 0.0}
    cursor = Cursor(best={**row, "image_size": 24}, least_loss=0.4)
    entry = Snapshot(weights, Best(weights, there.losses, there.probabilities))
    found = fit.reassess(materials, cursor, entry).best
    assert found.weights is weights
    assert found.losses is here.losses and found.probabilities is here.probabilities
    now = {"val_loss": 0.25, "accuracy": 1.0, "image_size": materials.image_size}
    assert cursor.best == {**row, **now} and cursor.least_loss is None
