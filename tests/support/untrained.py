"""A run's workdir with random weights and one checkpoint, as an export needs it; no training."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tiny

from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.configs import base
from jaxft.materials.data import open_data
from jaxft.materials.identity import describe_data
from jaxft.materials.model import create_model
from jaxft.models.model import Model
from jaxft.models.variables import Weights
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.rows import write_json
from jaxft.workdir.saving import Checkpoints
from jaxft.workdir.snapshot import Best, Snapshot, pack

CLASSES = ("blue", "green", "red")


def write(workdir: Path, source: str, **model: Any) -> Path:
    """Write a run on images of 32 px of three classes; `model` are keys of config.model."""
    config = base.get_config()
    config.data.source, config.data.image_size, config.data.batch_size = source, 32, 25
    config.data.threads, config.data.interpolation = 1, "bilinear"
    config.data.valid_fraction = 0.5
    config.model.update({"weights": "none", **model})
    config.phases = (base.phase(name="head", lr=0.1),)
    settings = load.read(config)
    net = create_model(settings, len(CLASSES))
    workdir.mkdir(parents=True)
    write_json(workdir / "config.json", as_dict(config))
    write_json(workdir / "classes.json", list(CLASSES))
    expected = net.preprocessing._replace(image_size=32, crop_fraction=1.0)
    write_json(workdir / "preprocessing.json", expected._asdict())
    write_json(workdir / "data.json", describe_data(open_data(settings)))
    write_json(workdir / "weights.json", {"source": "none"})
    weights = settled(net, tiny.weights(net), bool(settings.model.hidden))
    checkpoints = Checkpoints(workdir)
    snapshot = Snapshot(weights, Best(weights, np.zeros(0)))
    checkpoints.save(1, pack(snapshot, Cursor()))
    checkpoints.close()
    return workdir


def settled(net: Model, weights: Weights, drops: bool) -> Weights:
    """Give the weights the statistics of noise, so that answers differ from image to image."""
    noise = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), len(noise)) if drops else None
    moments = jax.jit(partial(net.moments, training=("early", "late", "head"), keys=keys))
    stats = moments(*weights, noise)
    return Weights(weights.params, jax.tree.map(np.asarray, {**weights.batch_stats, **stats}))
