"""The whole train step with one thing changed at a time, in turn with what is there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxft.devices import sharding
from jaxft.models.bodies.resnet import network as resnet
from jaxft.models.conv import convolution
from jaxft.models.conv.native import Pads, xla_conv
from jaxft.models.conv.ungrouped import pointwise
from pieces import clock, layers, network
from pieces.clock import Call, Timing
from pieces.report import Report, seconds_of
from pieces.setting import Setting

BASE = "base"
ALL_GROUPS = {"early": 1.0, "late": 1.0, "head": 1.0}

Change = Callable[[], AbstractContextManager[Any]]


def ideas(setting: Setting, report: Report) -> None:
    """For each change two lines, of itself and of the base in the same rounds."""
    network.start(report)
    base = Built(BASE, *built(setting, "auto", nullcontext))
    for name, lowering, change in changes(setting):
        with report.guard("train", lowering=name):
            other = Built(name, *built(setting, lowering, change))
            calls = {BASE: [base.step], name: [other.step]}
            found = clock.alternate(setting, calls, jax.block_until_ready)
            tell(setting, report, base, found[BASE])
            tell(setting, report, other, found[name], gains=gains(found[BASE].ms, found[name].ms))


class Built(NamedTuple):
    """A compiled step."""

    name: str
    step: Call
    compile_seconds: float


def built(setting: Setting, lowering: str, change: Change) -> tuple[Call, float]:
    """A step that was traced under a change, and the seconds until its first result."""
    seconds: list[float] = []
    with seconds_of(seconds), change():
        step = train_step(setting, lowering)
        jax.block_until_ready(step())
    return step, seconds[0]


def tell(setting: Setting, report: Report, one: Built, timing: Timing, **facts: Any) -> None:
    """A line of one step."""
    report.figure(
        "train",
        timing,
        flop=3 * layers.flop(convolutions(setting), setting.batch),
        images=setting.batch,
        lowering=one.name,
        shape=f"{setting.image_size} px, {setting.batch} images",
        compile_seconds=one.compile_seconds,
        peak_bytes=network.peak_bytes(),
        **facts,
    )


def gains(base: tuple[float, ...], other: tuple[float, ...]) -> list[float]:
    """Speed over the base's, in the first half of the rounds and in the second."""
    half = len(base) // 2
    parts = (slice(half), slice(half, None))
    return [round(sum(base[part]) / sum(other[part]), 4) for part in parts]


def train_step(setting: Setting, lowering: str = "auto") -> Any:
    """A full train step on augmented images, as jaxft_side has it."""
    import jaxft_side

    model = {"name": setting.model, "classes": setting.classes, "conv": lowering}
    groups = {"train": ALL_GROUPS}
    size = (setting.batch, setting.image_size)
    model["dtype"] = "bfloat16"
    preset = "none" if setting.tiny else "side_on"
    found = jaxft_side.programs(model, *size, groups, setting.folder, preset)
    return dict(found)["train"]


def convolutions(setting: Setting) -> list[layers.Counted]:
    """Of the network."""
    return network.convolutions(network.create(setting), setting.image_size)


def changes(setting: Setting) -> Iterator[tuple[str, str, Change]]:
    """(name, lowering of grouped convolutions, what is changed while the step is traced)."""
    for lowering in filter(None, setting.conv.split(",")):
        yield f"conv={lowering}", lowering, nullcontext
    for name, change in () if setting.tiny else OTHERS.items():
        yield name, "auto", change


def dots(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """1x1 convolutions as matrix products, all others as XLA's own."""
    if kernel.shape[:2] == (1, 1) and not any(map(any, pads)):
        return pointwise(x, kernel, stride, pads)
    return xla_conv(x, kernel, stride, pads)


def wide_stem(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """A convolution of an image with a fourth channel of zeros."""
    if kernel.shape[2] == 3:
        x = jnp.pad(x, ((0, 0),) * 3 + ((0, 1),))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return xla_conv(x, kernel, stride, pads)


def blocked_stem(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """A 7x7 convolution of an image as one of 4x4 on its blocks of 2x2 pixels.

    Those have 12 channels, and get four of zeros: tensor cores want a multiple of 8.
    """
    if kernel.shape[:3] != (7, 7, 3) or stride != 2 or x.shape[1] % 2 or x.shape[2] % 2:
        return xla_conv(x, kernel, stride, pads)
    x = jnp.pad(x, ((0, 0), (4, 2), (4, 2), (0, 0)))
    batch, height, width, colours = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, colours).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, height // 2, width // 2, 4 * colours)
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(4, 2, 4, 2, colours, -1).transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(4, 4, 4 * colours, -1)
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 4)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 4), (0, 0)))
    return xla_conv(x, kernel, 1, ((0, 0), (0, 0)))


def max_pool(x: jax.Array) -> jax.Array:
    """Flax's, with XLA's gradient."""
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def patch(module: Any, name: str, value: Any) -> Change:
    """A change of one function of a module."""
    return lambda: mock.patch.object(module, name, value)


# Both ways: what jaxft may gain by, and what it should lose by, without what it has for GPUs.
OTHERS: dict[str, Change] = {
    "1x1 as dot": patch(convolution, "ungrouped", dots),
    "stem of 4 channels": patch(convolution, "ungrouped", wide_stem),
    "Flax's max pool": patch(resnet, "max_pool", max_pool),
    "stem on blocks of 2x2": patch(convolution, "ungrouped", blocked_stem),
    "shortcuts read all pixels": patch(resnet, "fork", lambda x, stride: (x, None)),
    "kernels laid out as elsewhere": patch(sharding, "places_kernels", lambda: False),
}
