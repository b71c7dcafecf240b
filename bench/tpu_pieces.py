"""Pieces of the train step compiled alone for a TPU that is not there, and where their time goes.

    python bench/tpu_pieces.py --topology=v5e:2x4 --piece=augment            (--way=products)
    python bench/tpu_pieces.py --topology=v5e:2x4 --piece=block,14,1024      (--way=whole)
    python bench/tpu_pieces.py --topology=v5e:2x4 --piece=stem               (--way=last, places)

`augment`: the default augmentation of 64 canvases, by shears (what maps without perspective get)
or by products. `block,PIXELS,CHANNELS`: two bottlenecks of ResNeXt-101 64x4d, forward and
backward, in training, with the channels before the grouped convolution in parts or whole (both as
`parts` says and not); `--blocks=4` makes it four. `stem`: 7x7 convolution, BatchNorm and pooling
of 64 images on one device, forward and backward, as the step does on TPU; or pooled last, or by the
places of the maxima, as on other platforms. `--options=NAME=VALUE,...` are the compiler's;
`--options=step` those of the step (jaxft/devices/compiler.py).

It prints one JSON line, in the terms of jaxft/costs/costs.py, and with `--top=N` the N operations
that take the most.
"""

import argparse
import json
import re
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxft.augment import augment, warp
from jaxft.augment.presets import PRESETS
from jaxft.augment.products import by_products
from jaxft.costs import costs
from jaxft.costs.hlo import ENTRY, Computations, computations
from jaxft.data.images.sizing import canvas_size
from jaxft.devices import compiler, platform, sharding, topology
from jaxft.devices.compiler import Options
from jaxft.devices.topology import Target
from jaxft.models import max_pool
from jaxft.models.bodies.resnet import network as resnet
from jaxft.models.bodies.resnet.architecture import ARCHITECTURES

IMAGES = 64


def augmentation(target: Target, way: str) -> jax.stages.Lowered:
    """The card's augmentation on one device."""
    if way == "products":
        warp.by_shears = by_products
    place = SingleDeviceSharding(target.mesh.devices.flat[0])
    side, settings = canvas_size(224), PRESETS["side_on"]
    canvas = jax.ShapeDtypeStruct((IMAGES, side, side, 3), jnp.uint8, sharding=place)
    words = jax.ShapeDtypeStruct((IMAGES, 2), jnp.uint32, sharding=place)

    def views(canvas: Array, words: Array) -> Array:
        keys = jax.random.wrap_key_data(words)
        return augment.augment(canvas, keys, settings, 224).astype(jnp.bfloat16)

    return jax.jit(views).lower(canvas, words)


class Stem(nn.Module):
    """The layers that a ResNet begins with."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalised images to the first block's input."""
        return resnet.stem(x, "bfloat16", True, None)


def stem(target: Target, way: str) -> jax.stages.Lowered:
    """Output, running statistics and the gradients of all parameters, on one device."""
    if way == "last":
        resnet.pools_first = lambda *_: False
    if way == "places":
        resnet.max_pool = lambda x: max_pool._max_pool(x.shape[1:3], x)
    place = SingleDeviceSharding(target.mesh.devices.flat[0])
    model = Stem()

    def gradients(variables: dict, x: Array, dy: Array) -> tuple:
        def forward(params: dict) -> tuple:
            return model.apply({**variables, "params": params}, x, mutable=["batch_stats"])

        y, transpose, statistics = jax.vjp(forward, variables["params"], has_aux=True)
        return y, transpose(dy), statistics

    x = jax.ShapeDtypeStruct((IMAGES, 224, 224, 3), jnp.bfloat16)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), x)
    dy = jax.ShapeDtypeStruct((IMAGES, 56, 56, resnet.STEM_CHANNELS), jnp.bfloat16)
    arguments = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), (variables, x, dy)
    )
    return jax.jit(gradients).lower(*arguments)


def blocks(target: Target, way: str, number: int, pixels: int, width: int) -> jax.stages.Lowered:
    """So many bottlenecks of `width` channels inside, with the gradients of everything."""
    if way == "whole":
        resnet.parts = lambda *_: 1
    architecture = ARCHITECTURES["resnext101_64x4d"]
    nominal = width // 4
    block = resnet.Bottleneck(architecture, nominal, 1, "bfloat16")
    whole, divided = PartitionSpec(), PartitionSpec(sharding.AXIS)
    images = IMAGES * target.mesh.size
    shape = (images, pixels, pixels, nominal * architecture.expansion)
    one = jax.ShapeDtypeStruct((1, *shape[1:]), jnp.bfloat16)
    variables = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=False), one)

    def gradients(all_variables: list, x: Array, dy: Array) -> tuple:
        def forward(params: list, x: Array) -> Array:
            for ours, given in zip(params, all_variables, strict=True):
                variables = {**given, "params": ours}
                x, _ = block.apply(variables, x, True, sharding.AXIS, mutable=["batch_stats"])
            return x

        params = lax.pcast([v["params"] for v in all_variables], sharding.AXIS, to="varying")
        dparams, dx = jax.vjp(forward, params, x)[1](dy)
        return sharding.mean(dparams), dx

    def placed(tree: object, spec: PartitionSpec) -> object:
        where = NamedSharding(target.mesh, spec)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), tree)

    mapped = sharding.shard_map(gradients, target.mesh, (whole, divided, divided), (whole, divided))
    x = placed(jax.ShapeDtypeStruct(shape, jnp.bfloat16), divided)
    return jax.jit(mapped).lower(placed([variables] * number, whole), x, x)


def options(text: str, target: Target) -> Options | None:
    """Read the options that `--options` names."""
    if text == "step":
        return compiler.options(False, target.mesh)
    return dict(pair.split("=", 1) for pair in text.split(",")) if text else None


def dearest(program: Computations, clock: float, count: int) -> list[str]:
    """The operations with the largest estimates, one a line: ms, result, where it comes from."""
    found = []
    for operation in program[ENTRY]:
        cycles = re.search(r'"estimated_cycles":"?(\d+)', operation.line)
        origin = re.search(r'op_name="([^"]*)"', operation.line)
        if cycles:
            line = f"{operation.shape.split('{')[0]:32} {origin[1][-70:] if origin else ''}"
            found.append((1e3 * int(cycles[1]) / clock, line))
    return [f"{ms:7.3f} ms  {line}" for ms, line in sorted(found, reverse=True)[:count]]


def main_() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--piece", default="augment", help="augment, stem or block,PIXELS,CHANNELS")
    parser.add_argument(
        "--way", default="", help="products, places, last or whole; else the step's"
    )
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--options", default="", help="step, or NAME=VALUE,...")
    parser.add_argument("--top", type=int, default=0, metavar="N")
    flags = parser.parse_args()
    target = topology.slice_of(flags.topology)
    name, *numbers = flags.piece.split(",")
    with platform.targeting(*target.platform):
        if name == "block":
            lowered = blocks(target, flags.way, flags.blocks, *map(int, numbers))
        else:
            lowered = {"augment": augmentation, "stem": stem}[name](target, flags.way)
        asked, started = options(flags.options, target), time.process_time()
        compiled = lowered.compile(compiler_options=asked)
    found = costs.of_compiled(compiled, target.device)
    assert found.model is not None and target.device is not None and target.device.clock
    line = {
        "topology": flags.topology,
        "piece": flags.piece,
        "way": flags.way,
        "ms": round(1e3 * found.model.seconds, 2),
        "charged_ms": round(1e3 * found.model.charged, 2),
        "temporary_mib": round(found.memory.temporary / 2**20),
        "compile_cpu_seconds": round(time.process_time() - started),
    }
    if "all-reduce" in found.collectives:
        reduced = found.collectives["all-reduce"]
        line |= {"all_reduces": reduced.number, "asynchronous": reduced.asynchronous}
    print(json.dumps(line))
    program = computations(compiled.as_text())
    print("\n".join(dearest(program, target.device.clock, flags.top)))


if __name__ == "__main__":
    main_()
