"""One convolution at a time in its lowerings: forward, input gradient, kernel gradient, apart."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxft.models.conv import ungrouped
from jaxft.models.conv.convolution import conv
from jaxft.models.conv.lowerings import choose
from jaxft.models.conv.native import xla_conv
from jaxft.models.max_pool import max_pool
from pieces import clock, layers, network
from pieces.layers import BF16, Counted, Layer
from pieces.report import Report, seconds_of
from pieces.setting import Setting

DIRECTIONS = ("y", "dx", "dk")
GROUPED = ("native", "packed:32", "packed:16", "packed:64")

Convolve = Callable[[Array, Array], Array]


class Job(NamedTuple):
    """A convolution to be timed; `name` stands for its shape in lines, "" = as the shape says."""

    counted: Counted
    lowering: str
    convolve: Convolve
    name: str = ""


def grouped(setting: Setting, report: Report) -> None:
    """Every grouped 3x3 shape of the network; the usual lowerings of all shapes come first."""
    network.start(report)
    found = layers.grouped(_convolutions(setting))
    lowerings, found = (GROUPED[:2], found[:1]) if setting.tiny else (GROUPED, found)
    for lowering in lowerings:
        for counted in found:
            if lowering == "native" or differs(counted.layer, lowering):
                time_job(setting, report, Job(counted, lowering, of_jaxft(counted.layer, lowering)))


def differs(layer: Layer, lowering: str) -> bool:
    """Says if a lowering is another program than the native one, whose groups may be as wide."""
    ways = [choose(_kernel(layer), layer.groups, word) for word in (lowering, "native")]
    return ways[0] != ways[1]


def pointwise(setting: Setting, report: Report) -> None:
    """1x1 convolutions as such and as matrix products; the stem of 3 and of 4 channels."""
    network.start(report)
    found = _convolutions(setting)
    chosen = layers.pointwise(found)[: 1 if setting.tiny else None]
    for counted in chosen:
        stride, pads = counted.layer.stride, ((0, 0), (0, 0))
        for name, way in (("convolution", xla_conv), ("dot", ungrouped.pointwise)):
            time_job(setting, report, Job(counted, name, partial(way, stride=stride, pads=pads)))
    stem = layers.stem(found)
    for inputs in (3, 4):
        wide = stem._replace(layer=stem.layer._replace(inputs=inputs))
        way = partial(xla_conv, stride=stem.layer.stride, pads=_pads(stem.layer))
        time_job(setting, report, Job(wide, f"{inputs} channels", way, stem.layer.name))


def pool(setting: Setting, report: Report) -> None:
    """The maximum after the stem and its gradient, jaxft's and Flax's."""
    network.start(report)
    side, images = setting.image_size // 2, setting.batch
    shape, out = (images, side, side, 64), (images, side // 2, side // 2, 64)
    moved = BF16 * images * 64 * (side**2 + (side // 2) ** 2)
    for name, function in POOLS.items():
        for direction in ("y", "dx"):
            with report.guard("pool", lowering=name, direction=direction):
                program = jax.jit(_pool_program(function, direction))
                sets = _random(setting, (shape, out), moved)
                timing, seconds = _compiled_and_timed(setting, program, sets)
                # The gradient needs the input, too.
                bytes_ = moved if direction == "y" else moved + BF16 * images * 64 * side**2
                facts = {"lowering": name, "direction": direction, "shape": f"{side} px, 64"}
                report.figure("pool", timing, moved=bytes_, compile_seconds=seconds, **facts)


POOLS: dict[str, Callable[[Array], Array]] = {
    "jaxft": max_pool,
    "flax": lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
}


def _pool_program(function: Callable[[Array], Array], direction: str) -> Convolve:
    def gradient(x: Array, dy: Array) -> Array:
        return jax.vjp(function, x)[1](dy)[0]

    return gradient if direction == "dx" else lambda x, _: function(x)


def time_job(setting: Setting, report: Report, job: Job) -> None:
    """Times the directions of a convolution apart, a line each."""
    layer = job.counted.layer
    name = job.name or layer.name
    facts = {"shape": name, "count": job.counted.count, "lowering": job.lowering}
    for direction in DIRECTIONS:
        with report.guard("convolution", direction=direction, **facts):
            program = jax.jit(program_of(job.convolve, direction))
            sets = _random(setting, shapes(layer, setting.batch), layer.moved(setting.batch))
            timing, seconds = _compiled_and_timed(setting, program, sets)
            report.figure(
                "convolution",
                timing,
                flop=layer.flop(setting.batch),
                moved=layer.moved(setting.batch),
                direction=direction,
                compile_seconds=seconds,
                peak_bytes=network.peak_bytes(),
                **facts,
            )


def program_of(convolve: Convolve, direction: str) -> Callable[[Array, Array, Array], Any]:
    """(x, kernel, dy) -> what the direction says: "y", "dx", "dk", or "all" of them."""

    def backward(x: Array, kernel: Array, dy: Array) -> tuple[Array, Array, Array]:
        y, transpose = jax.vjp(convolve, x, kernel)
        return (y, *transpose(dy))

    if direction == "all":
        return backward
    return lambda *arrays: backward(*arrays)[DIRECTIONS.index(direction)]


def shapes(layer: Layer, batch: int) -> tuple[tuple[int, ...], ...]:
    """Of x, kernel and dy."""
    x = (batch, layer.pixels, layer.pixels, layer.inputs)
    return x, _kernel(layer), (batch, layer.out_pixels, layer.out_pixels, layer.outputs)


def of_jaxft(layer: Layer, lowering: str = "native") -> Convolve:
    """The layer as jaxft's networks have it."""
    more: Any = {"stride": layer.stride, "padding": _pads(layer), "groups": layer.groups}
    return partial(conv, lowering=lowering, **more)


def random(shape_list: tuple[tuple[int, ...], ...], seed: int) -> list[Array]:
    """Normal numbers in bfloat16, made on the device."""
    keys = jax.random.split(jax.random.key(seed), len(shape_list))
    return [_normal(key, shape) for key, shape in zip(keys, shape_list, strict=True)]


@partial(jax.jit, static_argnums=1)
def _normal(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(key, shape, jnp.bfloat16)


def _random(setting: Setting, shape_list: Any, set_bytes: float) -> list[list[Array]]:
    return [random(shape_list, seed) for seed in range(setting.sets(set_bytes))]


def _compiled_and_timed(
    setting: Setting, program: Any, sets: list[list[Array]]
) -> tuple[clock.Timing, float]:
    seconds: list[float] = []
    with seconds_of(seconds):
        compiled = program.lower(*sets[0]).compile()
    calls = [partial(compiled, *arrays) for arrays in sets]
    return clock.time_calls(setting, calls, jax.block_until_ready), seconds[0]


def _convolutions(setting: Setting) -> list[Counted]:
    return network.convolutions(network.create(setting), setting.image_size)


def _kernel(layer: Layer) -> tuple[int, int, int, int]:
    return layer.size, layer.size, layer.inputs // layer.groups, layer.outputs


def _pads(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    return ((layer.size // 2, layer.size // 2),) * 2
