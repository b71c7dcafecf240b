"""A network of a few channels, and the surroundings of a phase, for tests of the engine."""

from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxft.augment.presets import PRESETS
from jaxft.config import load
from jaxft.config.phase import Phase
from jaxft.config.plain import as_dict
from jaxft.configs import base
from jaxft.data import Dataset, Split
from jaxft.data.balance import UNBALANCED, Balance
from jaxft.data.images.memory import Images, Memory
from jaxft.data.images.sizing import OWN_SIZE, Sizing, canvas_size
from jaxft.data.order import host_order
from jaxft.data.slots import layout
from jaxft.devices import sharding
from jaxft.features.inference import make_forward
from jaxft.materials.materials import Materials
from jaxft.models.body import Body, Preprocessing
from jaxft.models.conv.convolution import Conv
from jaxft.models.head import Head
from jaxft.models.model import Model
from jaxft.models.norm.layer import BatchNorm
from jaxft.models.variables import Weights
from jaxft.recipe import optim
from jaxft.recipe.optim import OptimizerSettings
from jaxft.runtime.console import Console
from jaxft.training import step, train_state
from jaxft.training.runners import run_steps
from jaxft.training.spec import StepSpec
from jaxft.training.train_state import TrainBatch

ALL_GROUPS = {"early": 0.25, "late": 0.5, "head": 1.0}
PREPROCESSING = Preprocessing((127.0, 120.0, 110.0), (128.0, 60.0, 64.0))


class Block(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    channels: int
    stride: int = 2
    groups: int = 1

    @nn.compact
    def __call__(self, x: Any, train: bool, axis_name: str | None = None) -> Any:
        x = Conv(self.channels, 3, self.stride, groups=self.groups, name="conv1")(x)
        return BatchNorm(activation="relu", name="bn1")(x, train, axis_name)


def model(
    channels: tuple[int, int] = (4, 8),
    stride: int = 2,
    classes: int = 3,
    hidden: tuple[int, ...] = (8,),
    dropout: tuple[float, ...] = (0.25, 0.5),
    groups: int = 1,
) -> Model:
    """A body of two blocks, one a layer group, the second grouped as in ResNeXt; the usual head."""
    late = Block(channels[1], stride, groups)
    body = Body(Block(channels[0], stride), late, channels[1], PREPROCESSING)
    return Model("tiny", classes, body, Head(classes, hidden, dropout), "max_avg")


def weights(net: Model, dtype: Any = np.float32) -> Weights:
    """Random parameters and positive statistics, on the host; nothing is compiled for it."""
    random = np.random.default_rng(0)

    def parameter(leaf: Any) -> Any:
        if leaf.ndim == 1:  # biases and BatchNorm's scale
            return 0.5 + random.random(leaf.shape)
        return random.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))

    params, stats = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(parameter, dict(params))
    stats = jax.tree.map(lambda leaf: 0.2 + random.random(leaf.shape), dict(stats))
    return Weights(*jax.tree.map(lambda a: np.asarray(a, dtype), (params, stats)))


def phase(**changes: Any) -> Phase:
    """A phase that trains the head on augmented images at a constant rate."""
    plain = as_dict(base.phase(lr=0.1))
    plain["groups"] = {"head": 1.0}
    return Phase(**{**plain, **changes})


def spec(
    net: Model,
    a_phase: Phase,
    *,
    settings: OptimizerSettings = OptimizerSettings(momentum=0.0),  # noqa: B008 (frozen)
    momentum: Any = None,
    preset: str = "side_on",
    image_size: int = 16,
    batch_size: int = 8,
    examples: int = 20,
    balance: Balance = UNBALANCED,
) -> StepSpec:
    """Specification of a phase's train step."""
    return StepSpec(
        model=net,
        phase=a_phase,
        phase_index=1,
        optimizer=optim.transformation(a_phase.groups, settings, momentum),
        augmentation=PRESETS[preset],
        image_size=image_size,
        batch_size=batch_size,
        examples=examples,
        balance=balance,
    )


def canvases(count: int = 20, image_size: int = 16, classes: int = 3) -> TrainBatch:
    """Random smooth canvases, brighter the higher their label, and labels."""
    random = np.random.default_rng(1)
    labels = random.integers(classes, size=count).astype(np.int32)
    side = canvas_size(image_size)
    coarse = random.random((count, 4, 4, 3)) * 160 + labels[:, None, None, None] * 30
    fine = coarse.repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    return TrainBatch(fine.astype(np.uint8), labels)


def shuffled(a_spec: StepSpec, data: TrainBatch, steps: int, mesh: Any, seed: int = 0) -> Any:
    """The batches of a phase's first steps, on the mesh."""
    size = a_spec.batch_size
    balanced = data.label if a_spec.balance.kind == "sampling" else None
    for number in range(steps):
        epoch, place = divmod(number, a_spec.steps_per_epoch)
        order = host_order(seed, a_spec.phase_index, epoch, a_spec.examples, balanced)
        chosen = order[place * size : (place + 1) * size]
        parts = a_spec.phase.microbatches
        mine = sharding.my_rows(chosen[layout(size, mesh.size, parts)])
        yield sharding.split_batch(TrainBatch(data.inputs[mine], data.label[mine]), mesh)


def train(
    a_spec: StepSpec,
    start: Weights,
    data: TrainBatch,
    *,
    devices: int | None = 1,
    steps: int = 1,
    lr: float | np.ndarray = 1.0,
    seed: int = 0,
) -> tuple[Weights, np.ndarray]:
    """Weights after the first steps of a phase, and the steps' losses; `lr` one rate or many."""
    mesh = sharding.data_mesh(devices)
    state, frozen = sharding.replicate(step.start(a_spec, start), mesh)
    rates, seed_there = sharding.replicate((np.full(steps, lr, float), np.int32(seed)), mesh)
    rates = rates.astype(jax.dtypes.canonicalize_dtype(float))
    losses: list[float] = []
    state, _ = run_steps(
        step.make_step(a_spec, mesh),
        state,
        frozen,
        shuffled(a_spec, data, steps, mesh, seed),
        rates,
        seed_there,
        steps,
        keeping(losses),
    )
    return sharding.fetch(train_state.finish(state, frozen)), np.asarray(losses)


def keeping(losses: list[float]) -> train_state.Sink:
    """A sink that appends every loss, and goes on."""

    def sink(_: int, loss: float) -> bool:
        losses.append(loss)
        return True

    return sink


def split(data: TrainBatch, name: str) -> Split:
    """A split whose images are canvases already."""
    names = tuple(f"{name}/{i}" for i in range(len(data.label)))
    return Split(names, data.label, names, partial(_read, data.inputs))


def _read(images: np.ndarray, index: int, sizing: Sizing = OWN_SIZE, *_: Any) -> np.ndarray:
    assert sizing.shorter_side in (None, images.shape[1])
    image: np.ndarray = images[index]
    return image


def images(a_split: Split, image_size: int = 16) -> Images:
    """Its images, kept in memory once read."""
    return Images(a_split, Sizing(canvas_size(image_size)), Memory(2**24))


def materials(cache_dir: Any, *, phases: tuple[Phase, ...] = (), devices: int = 1, **data: Any):
    """All that phases share, over 40 training and 13 validation images."""
    plain = load.read(base.get_config())
    size = {"image_size": 16, "batch_size": 8, "threads": 1, **data}
    settings = replace(
        plain, data=replace(plain.data, **size), phases=phases or (phase(lr="find"),)
    ).at_size(size["image_size"])
    net, mesh = model(), sharding.data_mesh(devices)
    pixels = canvases(53, settings.data.image_size)
    train_split = split(TrainBatch(pixels.inputs[:40], pixels.label[:40]), "train")
    valid_split = split(TrainBatch(pixels.inputs[40:], pixels.label[40:]), "valid")
    return Materials(
        settings=settings,
        image_size=settings.data.image_size,
        mesh=mesh,
        model=net,
        forward=make_forward(net, settings.augment, settings.data.image_size, mesh),
        dataset=Dataset(("a", "b", "c"), train_split, valid_split),
        train_images=images(train_split, settings.data.image_size),
        valid_images=images(valid_split, settings.data.image_size),
        cache_dir=cache_dir,
        console=Console(None),
    )
