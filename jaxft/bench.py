"""How fast a config's programs are on the devices that are there: compiled, warmed up, timed.

The programs are those of the run (programs.py), and they are driven as its loop drives them: an
execution is dispatched before the result of the one before is waited for. A repeat is the time
from one result to the next.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxft import (
    costs,
    evaluate,
    fit,
    flops,
    inputs,
    made_up,
    plan,
    pool,
    programs,
    run,
    sharding,
    shortage,
    step,
)
from jaxft.costs import Costs
from jaxft.figures import Figures
from jaxft.inputs import Materials
from jaxft.models import Model, platform
from jaxft.plan import Sizes
from jaxft.programs import Call
from jaxft.recipe import Phase, Settings
from jaxft.report import Console
from jaxft.step import StepSpec, Weights
from jaxft.topology import Target

# Not counted: more than are read ahead (feed.AHEAD batches, and as many that are yet to be placed)
# before the input has to keep up.
WARM_UP = 5


@dataclass(frozen=True)
class Job:
    """What to bench.

    `materials` are a run's own, for its real input; without them input is made up. `weights` are
    all groups, on the mesh.
    """

    settings: Settings
    sizes: Sizes
    target: Target
    model: Model
    weights: Weights
    repeats: int
    console: Console
    materials: Materials | None = None

    @property
    def mesh(self) -> Mesh:
        """All devices."""
        return self.target.mesh

    def at_size(self, image_size: int) -> "Job":
        """On images of so many pixels; what there was of another size is let go of."""
        materials = self.materials and inputs.at_size(self.materials, image_size)
        settings = self.settings.at_size(image_size)
        return dataclasses.replace(self, settings=settings, materials=materials)


class Times(NamedTuple):
    """Seconds of every repeat, and the share of them that went by in waiting for input."""

    seconds: tuple[float, ...]
    waited: float


@dataclass(frozen=True)
class Program:
    """A program to time: how it is made, fed and driven.

    `phase` is the first of the `phases` that run it, None where none does. `call(steps)` is the
    program of so many steps. `start(compiled)` gives what executes it on an item of `feed`, and
    returns something to wait for. `reads`: its input is images. `neutral(mesh, share)` is one step
    on `share` images, for `model_flops`. `passes` is how often the loop runs that a step may be in,
    which XLA counts once (costs.of_compiled).
    """

    name: str
    phases: tuple[str, ...]
    phase: Phase | None
    steps: int
    reads: bool
    call: Callable[[int], Call]
    start: Callable[[Any], Callable[[Any], Any]]
    feed: Callable[[], AbstractContextManager[Iterator[Any]]]
    neutral: Callable[[Mesh, int], Call]
    passes: int = 1


def synthetic(
    settings: Settings, sizes: Sizes, target: Target, repeats: int, console: Console
) -> Job:
    """A job on random images and weights, of which there are as many as `sizes` says.

    Raises:
      UserError: the batch cannot be divided over the devices, or is larger than the data set.
    """
    settings = plan.without_weights(settings, console)
    run.check_batch_size(settings, sizes.train, target.mesh.size)
    model = run.create_model(settings, sizes.classes)
    with shortage.told(settings, "before the first step"):
        weights = Weights(*jax.jit(model.init)(jax.random.key(settings.seed)))
        weights = sharding.replicate(weights, target.mesh)
    return Job(settings, sizes, target, model, weights, repeats, console)


def real(settings: Settings, target: Target, repeats: int, console: Console) -> Job:
    """A job on the images and weights of a config.

    Raises:
      UserError: as `run.prepare`.
    """
    with shortage.told(settings, "before the first step"):
        materials, initial = run.prepare(settings, console)
        weights = sharding.replicate(initial, target.mesh)
    data = materials.dataset
    sizes = Sizes(len(data.train), len(data.valid), len(data.classes), settings.data.source)
    return Job(settings, sizes, target, materials.model, weights, repeats, console, materials)


def make(job: Job) -> Iterator[Figures]:
    """The extraction of features, then every distinct program of the phases.

    Raises:
      UserError: a program needs more memory than there is.
    """
    phases: dict[Any, list[int]] = {}
    for index, phase in enumerate(job.settings.phases):
        phases.setdefault(programs.distinct(phase), []).append(index)
    for size in programs.image_sizes(job.settings):
        job = job.at_size(size)
        here = [i for i in phases.values() if job.settings.phases[i[0]].image_size == size]
        for program in (_forward(job), *(_step(job, indices) for indices in here)):
            with shortage.told(job.settings, f"in the step of {program.name}", program.phase):
                figures = measure(job, program)
            yield figures


def measure(job: Job, program: Program) -> Figures:
    """Compile a program, and time it."""
    job.console.say(f"compiling the step of {program.name} for {job.target.name} ...")
    started = time.perf_counter()
    traced = program.call(program.steps).trace()
    compiled = traced.lower().compile()
    compile_seconds = time.perf_counter() - started
    with (
        program.feed() as feed,
        job.console.bar(WARM_UP + job.repeats, program.name, "repeat") as bar,
    ):
        times = repeat(program.start(compiled), feed, job.repeats, bar)
    batch_size, devices = job.settings.data.batch_size, jax.local_devices()
    return Figures(
        program=program.name,
        phases=program.phases,
        images=batch_size,
        image_size=job.settings.data.image_size,
        devices=job.mesh.size,
        steps=program.steps,
        seconds=times.seconds,
        input_wait=times.waited if program.reads and job.materials is not None else None,
        compile_seconds=compile_seconds,
        costs=_costs(job, program, compiled, flops.of_traced(traced)),
        model_flops=model_flops(program.neutral, batch_size // job.mesh.size),
        peak_bytes=pool.peak(devices),
        pool_bytes=pool.limit(devices),
        chip=job.target.device,
    )


def _costs(job: Job, program: Program, compiled: Any, counted: float) -> Costs:
    """The costs of one step, by the program that was timed."""
    if program.steps > 1:
        return costs.of_epoch(compiled, job.target.device, program.steps, counted)
    return costs.of_compiled(compiled, job.target.device, program.passes, counted)


def _forward(job: Job) -> Program:
    """The extraction of features; it takes the canvases to the devices, as in a run."""
    shapes, size = programs.weight_shapes(job.model), job.settings.data.image_size

    def start(compiled: Any) -> Callable[[Any], Any]:
        folded = evaluate.make_fold(job.model)(job.weights)
        return lambda canvases: compiled(folded, sharding.split_batch(canvases, job.mesh))

    @contextmanager
    def feed() -> Iterator[Iterator[Any]]:
        if job.materials is None:
            yield itertools.repeat(made_up.canvases(job.settings))
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
    """The canvases of the training images, batch by batch, over and over."""
    split, images = materials.dataset.train, materials.train_images
    while True:
        with inputs.eval_feed(materials, split, images) as ready:
            for batch in ready:
                yield batch.image


def _step(job: Job, indices: list[int]) -> Program:
    """The step of these phases; on cached features an epoch."""
    spec = fit.spec_of(job.settings, job.model, indices[0], job.sizes.train)
    cached = spec.phase.inputs == "cached"
    shapes = programs.weight_shapes(job.model)

    @contextmanager
    def feed() -> Iterator[Iterator[Any]]:
        if cached:
            yield itertools.repeat(made_up.features(spec, job.sizes.classes, job.mesh))
        elif job.materials is None:
            yield itertools.repeat((made_up.batch(job.settings, job.sizes.classes, job.mesh),))
        else:
            count = WARM_UP + job.repeats + 1
            with inputs.train_feed(spec, job.materials, 0, count) as ready:
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
    """Executes the program on a batch, handing the state on; returns the loss.

    At a rate of 0 the weights stay as they are, and no number becomes infinite.
    """
    state, frozen = step.start(spec, job.weights)
    state = sharding.replicate(state, job.mesh)
    if spec.phase.inputs == "augmented":
        frozen = evaluate.make_fold(job.model)(frozen)
    rates = np.zeros(programs.rates_length(spec, job.settings), np.float32)
    table, seed = sharding.replicate((rates, np.int32(job.settings.seed)), job.mesh)

    def execute(data: tuple[Any, ...]) -> Any:
        nonlocal state
        state, loss = compiled(state, frozen, *data, table, seed)
        return loss

    return execute


def repeat(
    execute: Callable[[Any], Any], feed: Iterator[Any], repeats: int, bar: "tqdm[Any]"
) -> Times:
    """Times `repeats` executions, after WARM_UP others, each on the next of `feed`.

    The next one is under way already while a result is waited for; where dispatch itself waits,
    as on CPU, it is the next one's time that counts.
    """
    stamps, waits = [], []
    pending = execute(next(feed))
    for _ in range(WARM_UP + repeats):
        asked = time.perf_counter()
        data = next(feed)
        waits.append(time.perf_counter() - asked)
        following = execute(data)
        jax.block_until_ready(pending)
        stamps.append(time.perf_counter())
        pending = following
        bar.update()
    jax.block_until_ready(pending)
    counted = np.diff(stamps)[-repeats:]
    return Times(tuple(counted.tolist()), sum(waits[-repeats:]) / float(counted.sum()))


def plain_model(job: Job) -> Model:
    """The job's model with every convolution as XLA has it."""
    native = dataclasses.replace(job.settings.model, conv="native")
    return run.create_model(dataclasses.replace(job.settings, model=native), job.sizes.classes)


def model_flops(neutral: Callable[[Mesh, int], Call], share: int) -> float:
    """Matrix arithmetic of a step on a device's share of a batch, as the model is written.

    Traced for no platform in particular, so that the zeros of packed kernels do not count.
    """
    mesh = Mesh(np.asarray(jax.local_devices()[:1]), (sharding.AXIS,))
    with platform.targeting("none", ""):
        return flops.of_traced(neutral(mesh, share).trace())
