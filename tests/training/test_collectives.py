"""Collectives of the compiled programs between eight devices, and each device's arithmetic.

A step under plain `jit` fails the first of these: for a grouped convolution XLA's partitioner
gathers the whole batch onto every device (openxla/xla issue 47945). The measure is shown to see
that, below.
"""

import re
from functools import cache
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxft.augment.presets import PRESETS
from jaxft.costs.call import Call
from jaxft.devices import sharding
from jaxft.features.inference import make_forward
from jaxft.recipe import optim
from jaxft.training import step

BATCH, SIDE, EXAMPLES = 64, 32, 128
NET = tiny.model((8, 16), stride=1, groups=4)
CACHED, HEAD = tiny.phase(inputs="cached"), tiny.phase()
FULL = tiny.phase(groups=tiny.ALL_GROUPS)
STEPS = {
    "cached": CACHED,
    "head": HEAD,
    "full": FULL,
    "late": tiny.phase(groups={"late": 0.5, "head": 1.0}),
    "frozen BatchNorm": tiny.phase(groups=tiny.ALL_GROUPS, bn="frozen"),
    "BatchNorm per device": tiny.phase(groups=tiny.ALL_GROUPS, bn="per_device"),
    "microbatches": tiny.phase(groups=tiny.ALL_GROUPS, microbatches=2, bn="frozen"),
}
BODY_STEPS = ("head", "late", "full")
FORWARD = ("features", "views", "logits")


def spec_of(name):
    return tiny.spec(NET, STEPS[name], image_size=SIDE, batch_size=BATCH, examples=EXAMPLES)


@cache
def compiled_step(name, devices=8):
    """A phase's step, or its epoch if inputs are cached, compiled for this many devices."""
    spec, mesh = spec_of(name), sharding.data_mesh(devices)
    state, frozen = sharding.replicate(step.start(spec, tiny.weights(NET)), mesh)
    rates, seed = sharding.replicate((np.ones(4, np.float32), np.int32(0)), mesh)
    if STEPS[name].inputs == "cached":
        features = np.zeros((EXAMPLES, NET.feature_size), np.float32)
        held = sharding.replicate((features, np.zeros(EXAMPLES, np.int32)), mesh)
        call = Call(step.make_epoch(spec, mesh, 2), (state, frozen, *held, rates, seed))
        return call.lower().compile()
    data = sharding.split_batch(tiny.canvases(BATCH, SIDE), mesh)
    return Call(step.make_step(spec, mesh), (state, frozen, data, rates, seed)).lower().compile()


@cache
def compiled_forward(name, devices=8):
    mesh = sharding.data_mesh(devices)
    forward = make_forward(NET, PRESETS["side_on"], SIDE, mesh)
    weights = sharding.replicate(tiny.weights(NET), mesh)
    canvas, index = tiny.canvases(BATCH, SIDE).inputs, np.arange(BATCH, dtype=np.int32)
    arguments = {
        "features": [sharding.split_batch(canvas, mesh)],
        "views": [
            *sharding.split_batch((canvas, index), mesh),
            *sharding.replicate((np.int32(0),) * 3, mesh),
        ],
        "logits": [sharding.split_batch(np.zeros((BATCH, NET.feature_size), np.float32), mesh)],
    }[name]
    return getattr(forward, name).lower(weights, *arguments).compile()


KINDS = r"(all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast)"


def collectives(compiled):
    """-> a list of (kind, bytes of the result) of every collective in a compiled program."""
    found = []
    for line in compiled.as_text().splitlines():
        call = re.search(rf"= (.*?) {KINDS}(?:-start)?\(", line)
        if call:
            arrays = re.findall(r"\b[a-z]+(\d+)\[([\d,]*)\]", call[1])
            sizes = [
                int(bits) // 8 * prod(map(int, shape.split(","))) if shape else int(bits) // 8
                for bits, shape in arrays
            ]
            found.append((call[2], sum(sizes)))
    return found


def flops(compiled):
    return compiled.cost_analysis()["flops"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_step_gathers_nothing_and_reduces_its_gradients_once(name):
    spec, found = spec_of(name), collectives(compiled_step(name))
    state, _ = step.start(spec, tiny.weights(NET))
    stats = {group: state.batch_stats[group] for group in spec.training}
    trained = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    channels = sum(leaf.size for leaf in jax.tree.leaves(stats)) // 2  # of a mean and a variance
    assert {kind for kind, _ in found} == {"all-reduce"}
    total = sum(size for _, size in found)
    assert trained <= total <= trained + 4 * 4 * channels + 4096


@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARD)
def test_inference_sends_nothing(name):
    assert collectives(compiled_forward(name)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BODY_STEPS)
def test_each_of_eight_devices_computes_an_eighth_of_a_step(name):
    optimizer = _optimizer_flops(spec_of(name))
    one, eight = (flops(compiled_step(name, devices)) - optimizer for devices in (1, 8))
    assert eight == pytest.approx(one / 8, rel=0.02)


def _optimizer_flops(spec):
    """Operations that every device repeats: the optimizer's update and its application."""
    state, _ = step.start(spec, tiny.weights(NET))

    def update(params, grads, opt_state):
        directions, opt_state = spec.optimizer.update(grads, opt_state, params)
        return optim.apply(params, directions, jnp.float32(1)), opt_state

    return flops(jax.jit(update).lower(state.params, state.params, state.opt_state).compile())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["features", "views"])
def test_each_of_eight_devices_computes_an_eighth_of_the_inference(name):
    one, eight = (flops(compiled_forward(name, devices)) for devices in (1, 8))
    assert eight == pytest.approx(one / 8, rel=0.02)


def test_the_measures_see_what_plain_jit_makes_of_a_grouped_convolution():
    mesh = sharding.data_mesh(8)

    def grouped(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=4
        )

    divided, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    x = jax.ShapeDtypeStruct((64, 32, 32, 8), np.float32, sharding=divided)
    kernel = jax.ShapeDtypeStruct((3, 3, 2, 16), np.float32, sharding=whole)
    plain = jax.jit(grouped, out_shardings=divided).lower(x, kernel).compile()
    assert ("all-gather", 64 * 32 * 32 * 8 * 4) in collectives(plain)
    local = jax.shard_map(grouped, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    mapped = jax.jit(local).lower(x, kernel).compile()
    assert collectives(mapped) == []
    assert flops(plain) > 7 * flops(mapped)


def test_the_measure_reads_tuples_and_scalars():
    class Text:
        def as_text(self):
            return (
                "  %a = (f32[2,3]{1,0}, f32[]) all-reduce(%x, %y), channel_id=1\n"
                "  %b = bf16[8]{0} all-gather-start(%z), dimensions={0}\n"
                "  %c = f32[4] add(%all-reduce, %d)\n"
            )

    assert collectives(Text()) == [("all-reduce", 28), ("all-gather", 16)]
