"""Epochs of a head on cached features: jaxft's compiled scan, and what may be faster."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax import lax

from jaxft.augment.presets import PRESETS
from jaxft.config import load
from jaxft.configs import base
from jaxft.devices import sharding
from jaxft.models.registry import create
from jaxft.models.variables import Weights
from jaxft.recipe import optim
from jaxft.training import step
from jaxft.training.spec import StepSpec
from pieces import clock, network
from pieces.clock import Call
from pieces.heads import Head, heads
from pieces.report import Report, seconds_of
from pieces.setting import Setting

LEARNING_RATE = 0.01
UNROLLED = 4  # steps of a turn of the loop
SIDE_BY_SIDE = 8  # heads with seeds of their own


def with_jax(setting: Setting, report: Report) -> None:
    """A line for each head and way: the scan, steps unrolled, several heads at once by vmap."""
    network.start(report)
    ways = {way: make for way, make in WAYS.items() if not setting.tiny or make is epochs}
    for head in heads(setting):
        for way, make in ways.items():
            with report.guard("epoch", shape=head.shape, lowering=way):
                time_epochs(setting, report, head, way, make)


def time_epochs(
    setting: Setting, report: Report, head: Head, way: str, make: Callable[[Head], Call]
) -> None:
    """The line of one way."""
    seconds: list[float] = []
    with seconds_of(seconds):
        call = make(head)
        jax.block_until_ready(call())
    timing = clock.time_calls(setting, [call], jax.block_until_ready)
    count = SIDE_BY_SIDE if way == ABREAST else 1
    report.figure(
        "epoch",
        timing,
        flop=count * head.flop,
        moved=count * head.moved,
        images=count * head.steps * head.batch,
        shape=head.shape,
        lowering=way,
        compile_seconds=seconds[0],
        peak_bytes=network.peak_bytes(),
    )


def epochs(head: Head) -> Call:
    """One epoch after another, each on the state that the one before left."""
    epoch, state, arguments = prepared(head)
    return in_a_row(epoch, state, (*arguments, np.int32(0)))


def unrolled(head: Head) -> Call:
    """The same with several steps to a turn of the loop."""
    with mock.patch.object(step.lax, "scan", partial(lax.scan, unroll=UNROLLED)):
        call = epochs(head)
        jax.block_until_ready(call())  # is traced here
    return call


def abreast(head: Head) -> Call:
    """Epochs of several heads in one program, as for several seeds."""
    epoch, state, arguments = prepared(head)
    alone = (None,) * len(arguments)
    together = jax.jit(jax.vmap(epoch, in_axes=(0, *alone, 0)), donate_argnums=0)
    states = jax.tree.map(lambda leaf: np.stack([leaf] * SIDE_BY_SIDE), jax.device_get(state))
    seeds = np.arange(SIDE_BY_SIDE, dtype=np.int32)
    return in_a_row(together, jax.device_put(states), (*arguments, seeds))


def in_a_row(epoch: Any, state: Any, arguments: tuple[Any, ...]) -> Call:
    """Calls of an epoch, each on the state that the one before left."""

    def call() -> jax.Array:
        nonlocal state
        state, losses = epoch(state, *arguments)
        return losses

    return call


def prepared(head: Head) -> tuple[Any, Any, tuple[Any, ...]]:
    """The epoch's program, its first state, and its other arguments but for the seed."""
    config = base.get_config()
    config.phases = (base.phase(inputs="cached", lr=LEARNING_RATE, epochs=1),)
    settings = load.read(config)
    phase, mesh = settings.phases[0], sharding.data_mesh(1)
    model = create(head.model, head.classes, hidden=(head.hidden,))
    params, stats = model.init_head(jax.random.key(0))
    optimizer = optim.transformation(phase.groups, settings.optimizer)
    plain = PRESETS["none"]
    spec = StepSpec(model, phase, 0, optimizer, plain, 224, head.batch, head.examples)
    shape = (head.examples, head.features)
    features = jax.random.normal(jax.random.key(1), shape)
    labels = np.random.default_rng(0).integers(head.classes, size=head.examples)
    rates = np.full(10_000_000, LEARNING_RATE, np.float32)
    others = sharding.replicate((labels.astype(np.int32), rates), mesh)
    state, frozen = step.start(spec, Weights({"head": params}, {"head": stats}))
    state = sharding.replicate(state, mesh)
    return step.make_epoch(spec, mesh, head.steps), state, (frozen, features, *others)


ABREAST = f"{SIDE_BY_SIDE} heads by vmap"
WAYS: dict[str, Callable[[Head], Call]] = {
    "scan": epochs,
    f"{UNROLLED} steps unrolled": unrolled,
    ABREAST: abreast,
}
