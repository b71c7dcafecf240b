"""Programs to time, made, fed and driven as in the run's loop."""

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxft.costs import made_up, programs
from jaxft.costs.call import Call
from jaxft.costs.job import WARM_UP, Job, Program
from jaxft.devices import sharding
from jaxft.features.inference import make_fold
from jaxft.materials.extraction import eval_feed
from jaxft.materials.materials import Materials
from jaxft.materials.model import create_model
from jaxft.models.model import Model
from jaxft.training import step
from jaxft.training.runners import train_feed
from jaxft.training.spec import StepSpec, spec_of


def forward(job: Job) -> Program:
    """Return the extraction of features, which takes the canvases to the devices, as in a run."""
    shapes, size = programs.weight_shapes(job.model), job.image_size

    def start(compiled: Any) -> Callable[[Any], Any]:
        folded = make_fold(job.model, job.mesh)(job.weights)
        return lambda canvases: compiled(folded, sharding.split_batch(canvases, job.mesh))

    @contextmanager
    def feed() -> Iterator[Iterator[Any]]:
        if job.materials is None:
            yield itertools.repeat(made_up.canvases(job.settings.data.batch_size, job.image_size))
        else:
            with closing(_passes(job.materials)) as canvases:
                yield canvases

    def neutral(mesh: Mesh, share: int) -> Call:
        data = dataclasses.replace(job.settings.data, batch_size=share)
        settings = dataclasses.replace(job.settings, data=data)
        return programs.of_forward(settings, plain_model(job), shapes, mesh, size)

    def call(_: int) -> Call:
        return programs.of_forward(job.settings, job.model, shapes, job.mesh, size)

    name = programs.forward_name(job.settings, size)
    return Program(name, (), None, 1, True, call, start, feed, neutral)


def _passes(materials: Materials) -> Generator[Any]:
    """Yield the canvases of the training images, batch by batch, over and over."""
    while True:
        with eval_feed(materials, materials.train_images) as ready:
            for batch in ready:
                yield batch.image


def of_phases(job: Job, indices: list[int]) -> Program:
    """Return the step of these phases; on cached features an epoch."""
    spec = spec_of(job.settings, job.model, indices[0], job.sizes.train)
    cached = spec.phase.inputs == "cached"
    shapes = programs.weight_shapes(job.model)

    @contextmanager
    def feed() -> Iterator[Iterator[Any]]:
        if cached:
            yield itertools.repeat(made_up.features(spec, job.sizes.classes, job.mesh))
        elif job.materials is None:
            given = (job.settings.data.batch_size, job.image_size, job.sizes.classes)
            yield itertools.repeat((made_up.batch(*given, job.mesh),))
        else:
            count = WARM_UP + job.repeats + 1
            with train_feed(spec, job.materials, 0, count) as ready:
                yield ((batch,) for batch in ready)

    def neutral(mesh: Mesh, share: int) -> Call:
        small = dataclasses.replace(spec, batch_size=share, model=plain_model(job))
        return programs.of_phase(small, job.settings, shapes, mesh)

    names = tuple(job.settings.phases[index].name for index in indices)
    return Program(
        names[0],
        names,
        spec.phase,
        spec.steps_per_epoch if cached else 1,
        not cached,
        lambda steps: programs.of_phase(spec, job.settings, shapes, job.mesh, steps),
        partial(_training, job, spec),
        feed,
        neutral,
        spec.phase.microbatches,
    )


def _training(job: Job, spec: StepSpec, compiled: Any) -> Callable[[Any], Any]:
    """Return a function that trains on a batch, keeps the new state, and returns the loss.

    At a rate of 0 the weights stay as they are, and no number becomes infinite.
    """
    state, frozen = step.start(spec, job.weights)
    state = sharding.replicate(state, job.mesh)
    if spec.phase.inputs == "augmented":
        frozen = make_fold(job.model, job.mesh)(frozen)
    rates = np.zeros(spec.rates_length(job.settings.finder.steps), np.float32)
    table, seed = sharding.replicate((rates, np.int32(job.settings.seed)), job.mesh)

    def execute(data: tuple[Any, ...]) -> Any:
        nonlocal state
        state, loss = compiled(state, frozen, *data, table, seed)
        return loss

    return execute


def plain_model(job: Job) -> Model:
    """Return the job's model with every convolution as XLA has it."""
    native = dataclasses.replace(job.settings.model, conv="native")
    return create_model(dataclasses.replace(job.settings, model=native), job.sizes.classes)
