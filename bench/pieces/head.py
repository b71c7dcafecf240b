"""Epochs of a head on cached features: jaxft's compiled scan."""

import jax
import numpy as np

from jaxft import models, optim, recipe, sharding, step
from jaxft.configs import base
from jaxft.data import augment
from jaxft.step import Weights
from pieces import clock, network
from pieces.clock import Call
from pieces.heads import Head, heads
from pieces.report import Report, seconds_of
from pieces.setting import Setting

LEARNING_RATE = 0.01


def with_jax(setting: Setting, report: Report) -> None:
    """A line for each head."""
    network.start(report)
    for head in heads(setting):
        with report.guard("epoch", shape=head.shape):
            seconds: list[float] = []
            with seconds_of(seconds):
                call = epochs(head)
                jax.block_until_ready(call())
            timing = clock.time_calls(setting, [call], jax.block_until_ready)
            report.figure(
                "epoch",
                timing,
                flop=head.flop,
                moved=head.moved,
                images=head.steps * head.batch,
                shape=head.shape,
                lowering="scan",
                compile_seconds=seconds[0],
                peak_bytes=network.peak_bytes(),
            )


def epochs(head: Head) -> Call:
    """One epoch after another, each on the state that the one before left."""
    config = base.get_config()
    config.phases = (base.phase(inputs="cached", lr=LEARNING_RATE, epochs=1),)
    settings = recipe.read(config)
    phase, mesh = settings.phases[0], sharding.data_mesh(1)
    model = models.create(head.model, head.classes, hidden=(head.hidden,))
    params, stats = model.init_head(jax.random.key(0))
    optimizer = optim.transformation(phase.groups, settings.optimizer)
    plain = augment.PRESETS["none"]
    spec = step.StepSpec(model, phase, 0, optimizer, plain, 224, head.batch, head.examples)
    shape = (head.examples, head.features)
    features = jax.random.normal(jax.random.key(1), shape)
    labels = np.random.default_rng(0).integers(head.classes, size=head.examples)
    rates = np.full(10_000_000, LEARNING_RATE, np.float32)
    others = sharding.replicate((labels.astype(np.int32), rates, np.int32(0)), mesh)
    state, frozen = step.start(spec, Weights({"head": params}, {"head": stats}))
    state = sharding.replicate(state, mesh)
    epoch = step.make_epoch(spec, mesh, head.steps)

    def call() -> jax.Array:
        nonlocal state
        state, losses = epoch(state, frozen, features, *others)
        return losses

    return call
