"""Figures that compare meshes; as a program (`mesh_run.py FOLDER WORKDIR`) one process of several.

It prints nothing, and writes WORKDIR.json: a run's story in 64 bits, and the first steps in 32.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import tiny
import tiny_body
import tiny_config

from jaxft import run
from jaxft.configs import base
from jaxft.devices import sharding
from jaxft.evaluation import probabilities
from jaxft.evaluation.probabilities import probabilities_of
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.materials.data import open_data
from jaxft.runtime import hosts
from jaxft.runtime.console import Console
from jaxft.training import step_losses
from jaxft.workdir.rows import read_rows


def get_config(folder):
    """Three epochs on images of the whole network, two of the head on cached views before.

    The ends of the three are averaged in the end.
    """
    config = tiny_config.get_config(folder)
    config.model.name = "tiny_grouped"
    config.average_cycles = 3
    config.phases = (
        base.phase(name="head_cached", inputs="cached", views=2, lr="find", epochs=2),
        base.phase(
            name="full",
            groups={"early": 0.1, "late": 0.3, "head": 1.0},
            lr=0.05,
            schedule="sgdr",
            cycles=3,
        ),
    )
    return config


def story(folder, workdir):
    """Train and predict in 64 bits; -> the loss of every step, rows, and probabilities."""
    with jax.enable_x64(True):
        return _story(folder, workdir)


def _story(folder, workdir):
    losses = []
    demand = step_losses.demand_finite

    def recording(number, loss):
        losses.append(loss)
        demand(number, loss)

    step_losses.demand_finite = recording
    try:
        summary = run.train(get_config(folder), workdir)
    finally:
        step_losses.demand_finite = demand
    materials = materials_of(workdir)
    placed = sharding.replicate(read_weights(workdir, "best"), materials.mesh)
    probabilities = probabilities_of(materials, placed, 0, "fastai07")
    rows = read_rows(Path(workdir) / "metrics.jsonl")
    kept = ("phase", "epoch", "trn_loss", "val_loss", "accuracy", "lr")
    return {
        "losses": losses,
        "rows": [{key: row[key] for key in kept} for row in rows],
        "kept": summary["kept"]["rows"],
        "probabilities": probabilities.tolist(),
    }


def materials_of(workdir):
    settings, _, expected = read_workdir(workdir)
    return probabilities.materials_of(settings, open_data(settings), expected, Console(None))


def first_steps(devices=None):
    """Three losses, and the first gradient flat, in 32 bits.

    At rate 1 without momentum the first step moves the parameters by the gradient itself.
    """
    net = tiny.model(hidden=(), groups=2)  # see PLAIN_HEAD in test_step.py
    start = tiny.weights(net)
    spec = tiny.spec(net, tiny.phase(groups=tiny.ALL_GROUPS))
    rates = np.array([1.0, 0.0, 0.0])
    first, _ = tiny.train(spec, start, tiny.canvases(), devices=devices, steps=3, lr=rates)
    _, losses = tiny.train(spec, start, tiny.canvases(), devices=devices, steps=3, lr=0.1)
    moved = jax.tree.map(np.subtract, start.params, first.params)
    return {
        "losses": losses.tolist(),
        "gradient": np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved)]).tolist(),
    }


if __name__ == "__main__":
    tiny_body.register()
    tiny_body.as_if_pretrained()
    hosts.join("auto")
    told = {"x64": story(*sys.argv[1:]), "float32": first_steps()}
    hosts.first_only(lambda: Path(f"{sys.argv[2]}.json").write_text(json.dumps(told)))()
