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

from jaxft import costs, evaluate, fit, hosts, inputs, programs, provenance, run, sharding, step
from jaxft.costs import Costs
from jaxft.data import batches
from jaxft.errors import UserError
from jaxft.inputs import Materials
from jaxft.models import Model, platform
from jaxft.plan import Sizes
from jaxft.programs import Call
from jaxft.recipe import Settings
from jaxft.report import Console
from jaxft.step import StepSpec, TrainBatch, Weights
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

    `call(steps)` is the program of so many steps. `start(compiled)` gives what executes it on an
    item of `feed`, and returns something to wait for. `reads`: its input is images.
    `neutral(mesh, share)` is one step on `share` images, for `model_flops`. `passes` is how often
    the loop runs that a step may be in, which XLA counts once (costs.of_compiled).
    """

    name: str
    phases: tuple[str, ...]
    steps: int
    reads: bool
    call: Callable[[int], Call]
    start: Callable[[Any], Callable[[Any], Any]]
    feed: Callable[[], AbstractContextManager[Iterator[Any]]]
    neutral: Callable[[Mesh, int], Call]
    passes: int = 1


@dataclass(frozen=True)
class Figures:
    """What one program does.

    `phases` run it; a repeat takes it through `steps` steps of `images`, over all `devices`.
    `image_size` is in pixels. `input_wait` is the share of the time that went by in waiting for
    images, None where none are read. `costs` are of one step on one device, but their memory is
    that of the whole program; `model_flops` leave out what a lowering adds to be faster.
    `peak_bytes` is the most that any device of this process has used since the process began.
    `peak_flops` is the most that a device can do in a second. What is not known is None.
    """

    program: str
    phases: tuple[str, ...]
    images: int
    image_size: int
    devices: int
    steps: int
    seconds: tuple[float, ...]
    input_wait: float | None
    compile_seconds: float
    costs: Costs
    model_flops: float | None
    peak_bytes: int | None
    peak_flops: float | None

    @property
    def step_seconds(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile of the repeats, for a step."""
        low, middle, high = np.quantile(self.seconds, (0.25, 0.5, 0.75)) / self.steps
        return float(low), float(middle), float(high)

    @property
    def images_per_second(self) -> float:
        """Over all devices, at the median."""
        return self.images / self.step_seconds[1]

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the share of a device's peak that the model's arithmetic takes.

        Source: Chowdhery et al., PaLM (2022), appendix B; but counted by XLA, elementwise
        operations included.
        """
        if self.model_flops is None or self.peak_flops is None:
            return None
        return self.model_flops / self.step_seconds[1] / self.peak_flops


def synthetic(
    settings: Settings, sizes: Sizes, target: Target, repeats: int, console: Console
) -> Job:
    """A job on random images and weights, of which there are as many as `sizes` says.

    Raises:
      UserError: the batch cannot be divided over the devices, or is larger than the data set.
    """
    run.check_batch_size(settings, sizes.train, target.mesh.size)
    model = run.create_model(settings, sizes.classes)
    weights = Weights(*jax.jit(model.init)(jax.random.key(settings.seed)))
    weights = sharding.replicate(weights, target.mesh)
    return Job(settings, sizes, target, model, weights, repeats, console)


def real(settings: Settings, target: Target, repeats: int, console: Console) -> Job:
    """A job on the images and weights of a config.

    Raises:
      UserError: as `run.prepare`.
    """
    materials, initial = run.prepare(settings, console)
    data = materials.dataset
    sizes = Sizes(len(data.train), len(data.valid), len(data.classes), settings.data.source)
    weights = sharding.replicate(initial, target.mesh)
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
            with _enough_memory(program.name):
                yield measure(job, program)


def measure(job: Job, program: Program) -> Figures:
    """Compile a program, and time it."""
    job.console.say(f"compiling the step of {program.name} for {job.target.name} ...")
    started = time.perf_counter()
    compiled = program.call(program.steps).lower().compile()
    compile_seconds = time.perf_counter() - started
    with (
        program.feed() as feed,
        job.console.bar(WARM_UP + job.repeats, program.name, "repeat") as bar,
    ):
        times = repeat(program.start(compiled), feed, job.repeats, bar)
    # XLA counts what is in a loop once, and an epoch makes the keys of all its steps at once.
    one_step = compiled if program.steps == 1 else program.call(1).lower().compile()
    spent = costs.of_compiled(one_step, job.target.device, program.passes)
    memory = costs.memory_of(compiled.memory_analysis())
    batch_size, chip = job.settings.data.batch_size, job.target.device
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
        costs=dataclasses.replace(spent, memory=memory),
        model_flops=model_flops(program.neutral, batch_size // job.mesh.size, program.passes),
        peak_bytes=peak_bytes(),
        peak_flops=None if chip is None else chip.peak_flops,
    )


def _forward(job: Job) -> Program:
    """The extraction of features; it takes the canvases to the devices, as in a run."""
    shapes, size = programs.weight_shapes(job.model), job.settings.data.image_size

    def start(compiled: Any) -> Callable[[Any], Any]:
        folded = evaluate.make_fold(job.model, job.mesh)(job.weights)
        return lambda canvases: compiled(folded, sharding.split_batch(canvases, job.mesh))

    @contextmanager
    def feed() -> Iterator[Iterator[Any]]:
        if job.materials is None:
            yield itertools.repeat(_canvases(job))
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
    return Program(name, (), 1, True, call, start, feed, neutral)


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
            yield itertools.repeat(_features(job, spec))
        elif job.materials is None:
            yield itertools.repeat((_batch(job),))
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
        frozen = evaluate.make_fold(job.model, job.mesh)(frozen)
    rates = np.zeros(programs.rates_length(spec, job.settings), np.float32)
    table, seed = sharding.replicate((rates, np.int32(job.settings.seed)), job.mesh)

    def execute(data: tuple[Any, ...]) -> Any:
        nonlocal state
        state, loss = compiled(state, frozen, *data, table, seed)
        return loss

    return execute


def _canvases(job: Job) -> np.ndarray:
    """Random pixels, this process's share of a batch."""
    data, side = job.settings.data, batches.canvas_size(job.settings.data.image_size)
    shape = (data.batch_size // hosts.count(), side, side, 3)
    return np.random.default_rng(hosts.index()).integers(256, size=shape, dtype=np.uint8)


def _labels(job: Job, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(job.sizes.classes, size=count).astype(np.int32)


def _batch(job: Job) -> TrainBatch:
    labels = sharding.my_rows(_labels(job, job.settings.data.batch_size))
    return sharding.split_batch(TrainBatch(_canvases(job), labels), job.mesh)


def _features(job: Job, spec: StepSpec) -> Any:
    """Random features and labels of all training examples, whole on every device."""
    shape = (spec.phase.views * spec.examples, spec.model.feature_size)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    return sharding.replicate((features, _labels(job, spec.examples)), job.mesh)


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


def model_flops(neutral: Callable[[Mesh, int], Call], share: int, passes: int = 1) -> float | None:
    """FLOPs of a step on a device's share of a batch, as written and before any optimisation.

    Lowered for no platform in particular, so that the zeros of packed kernels do not count.
    """
    mesh = Mesh(np.asarray(jax.local_devices()[:1]), (sharding.AXIS,))
    with platform.targeting("none", ""):
        analysis = neutral(mesh, share).lower().cost_analysis() or {}
    return passes * analysis["flops"] if "flops" in analysis else None


def peak_bytes() -> int | None:
    """The most memory of any device of this process, so far; None where it does not say."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [found["peak_bytes_in_use"] for found in stats if "peak_bytes_in_use" in found]
    return max(peaks, default=None)


@contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        hint = "Try a smaller --config.data.batch_size; `jaxft plan` says which one would fit."
        raise UserError(f"The step of {name} needs more memory than there is.", (), hint) from None


def about(job: Job, config: str) -> dict[str, Any]:
    """What figures mean nothing without: versions, devices, config. JSON data."""
    return {
        "config": config,
        "input": "synthetic" if job.materials is None else "real",
        "model": job.settings.model.name,
        "dtype": job.settings.model.compute_dtype,
        "batch_size": job.settings.data.batch_size,
        "examples": job.sizes.train,
        "classes": job.sizes.classes,
        "device": job.target.platform.chip,
        "platform": job.target.platform.name,
        "devices": job.mesh.size,
        "processes": hosts.count(),
        **provenance.versions(),
        "revision": provenance.revision(),
    }


def as_json(job: Job, figures: Figures, config: str) -> dict[str, Any]:
    """One program's figures as a flat line of JSON data, with what `about` says."""
    low, middle, high = figures.step_seconds
    spent = figures.costs
    return {
        "program": figures.program,
        "phases": figures.phases,
        "repeats": len(figures.seconds),
        "steps_in_a_repeat": figures.steps,
        "step_seconds": {"median": middle, "quartile1": low, "quartile3": high},
        "images_per_second": figures.images_per_second,
        "images_per_second_per_device": figures.images_per_second / figures.devices,
        "input_wait": figures.input_wait,
        "compile_seconds": figures.compile_seconds,
        "memory": {**spent.memory._asdict(), "total": spent.memory.total},
        "peak_bytes_in_use": figures.peak_bytes,
        "flops": spent.flops,
        "model_flops": figures.model_flops,
        "mfu": figures.mfu,
        "mfu_missing": without_mfu(job, figures),
        "image_size": figures.image_size,
        **about(job, config),
    }


def without_mfu(job: Job, figures: Figures) -> str | None:
    """Why there is no MFU, in words; None where there is one."""
    if figures.peak_flops is None:
        return f"the peak of a {job.target.platform.chip} device is not known"
    return "the compiler does not count operations" if figures.model_flops is None else None
