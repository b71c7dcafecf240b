"""Work and cost of a run, without its images, its weights, or the device.

The programs are those of the run itself (programs.py), lowered for shapes instead of arrays,
compiled once each, side by side, and never executed.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxft.config.phase import Phase
from jaxft.config.resolve import expected_size
from jaxft.config.settings import Settings
from jaxft.costs import costs, flops, programs
from jaxft.costs.costs import Costs
from jaxft.costs.programs import Call
from jaxft.devices import platform, pool
from jaxft.devices.pool import Pool
from jaxft.devices.topology import Target
from jaxft.errors import UserError
from jaxft.materials import shortage
from jaxft.materials.model import create_model
from jaxft.materials.opening import check_batch_size, open_data
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.training import rebase
from jaxft.training.spec import StepSpec, spec_of


class Sizes(NamedTuple):
    """Number of examples and classes, and how it is known."""

    train: int
    valid: int
    classes: int
    source: str


class Refusal(NamedTuple):
    """A program that the compiler refused: bytes that it needs, bytes that there are."""

    needed: float
    allowed: float


@dataclass(frozen=True)
class Program:
    """One compiled program: its costs, or why it did not compile, and how long that took."""

    name: str
    images: int  # a device's share of a batch
    costs: Costs | Refusal
    compile_seconds: float


@dataclass(frozen=True)
class PhasePlan:
    """A phase: what trains, for how long, and what it costs.

    `epochs` and `steps` are the most where over-fitting ends the phase; the range test's
    `finder_steps` come on top, and as many of unmoved weights. `seconds` is the estimate for all of
    it but trials on cached features, None where nothing is known of the device;
    `extraction_seconds` the part before the first step that computes cached features.
    """

    name: str
    trains: Mapping[str, float]
    parameters: int
    inputs: str
    epochs: int
    at_most: bool
    steps: int
    finder_steps: int
    program: Program
    step_seconds: float | None
    extraction_seconds: float | None
    seconds: float | None


class Fit(NamedTuple):
    """Verdict on a program in a device's pool, and the batch (over all devices) that would fit.

    `batch` is an extrapolation from one compilation: what the arguments take stays, the rest
    grows with the images of a device. None: not even one image a device, or nothing is known.
    """

    fits: bool | None
    needed: float
    allowed: float | None
    batch: int | None


@dataclass(frozen=True)
class Plan:
    """Findings of `make`."""

    target: Target
    settings: Settings
    sizes: Sizes
    forwards: tuple[Program, ...]
    phases: tuple[PhasePlan, ...]
    pool: Pool | None

    @property
    def programs(self) -> list[Program]:
        """Every compiled program, once."""
        all_of_them = [*self.forwards, *(phase.program for phase in self.phases)]
        return list({p.name: p for p in all_of_them}.values())

    @property
    def fit(self) -> dict[str, Fit]:
        """By program, whether it fits into the pool."""
        devices = self.target.mesh.size
        memory = None if self.pool is None else self.pool.bytes
        return {program.name: fit_of(program, memory, devices) for program in self.programs}


def sizes_of(settings: Settings, examples: int | None, classes: int | None) -> Sizes:
    """The data set's sizes: from the command line, else the source, else what the card assumes.

    Raises:
      UserError: the source is not there, and nothing else says how large it is.
    """
    try:
        dataset = None if examples and classes else open_data(settings)
    except UserError as error:
        assumed = settings.plan
        examples, classes = examples or assumed.examples, classes or assumed.classes
        if not (examples and classes):
            hint = "Without the data set, give --examples=N (training images) and --classes=N."
            raise UserError(error.title, error.offenders, hint) from None
        dataset = None
    if dataset is not None:
        valid, count = len(dataset.valid), len(dataset.classes)
        return Sizes(examples or len(dataset.train), valid, classes or count, settings.data.source)
    assert examples and classes
    data = settings.data
    fraction = 1 / data.folds if data.folds else data.valid_fraction
    valid = settings.plan.valid_examples or round(examples * fraction / (1 - fraction))
    return Sizes(examples, valid, classes, "assumed; the data set was not looked at")


def make(settings: Settings, sizes: Sizes, target: Target, console: Console) -> Plan:
    """Compile every distinct program of a run for a target, and add up.

    Raises:
      UserError: the batch cannot be divided over the devices, or is larger than the data set.
    """
    settings = without_weights(settings, console)
    found = pool.of_target(target)
    check_batch_size(settings, sizes.train, target.mesh.size)
    with platform.targeting(*target.platform):
        model = create_model(settings, sizes.classes)
        weights = programs.weight_shapes(model)
        specs = [spec_of(settings, model, i, sizes.train) for i in range(len(settings.phases))]
        jobs: dict[Any, Job] = {}
        for spec in specs:
            key = programs.distinct(spec.phase)
            jobs.setdefault(key, step_job(spec, settings, weights, target))
        # A head-only step from images runs the body forward as the extraction does.
        extraction: dict[int, Any] = {
            s.image_size: programs.distinct(s.phase) for s in specs if _is_forward(s.phase)
        }
        for size in programs.image_sizes(settings):
            if size not in extraction:
                extraction[size] = name = programs.forward_name(settings, size)
                call = programs.of_forward(settings, model, weights, target.mesh, size)
                jobs[name] = Job(name, call, 1, 1)
        with shortage.told(settings, "in compilation"):
            compiled = _compile_all(jobs, settings, target, console)
    forwards = {size: compiled[key] for size, key in extraction.items()}
    phases = [
        _phase(s, settings, sizes, compiled[programs.distinct(s.phase)], forwards[s.image_size])
        for s in specs
    ]
    return Plan(target, settings, sizes, tuple(forwards.values()), tuple(phases), found)


def without_weights(settings: Settings, console: Console) -> Settings:
    """The settings with a size for images where only the weights, which may be absent, know theirs.

    Weights that would have to be fetched are not asked; the size is then the model's usual one, and
    that it is taken for granted is said.
    """
    if settings.data.image_size:
        return settings
    size, known = expected_size(settings)
    if not known:
        console.say(
            f"data.image_size=0 is the weights' own size, and {settings.model.weights!r} is not "
            f"looked at: {size} px are taken, usual for {settings.model.name}. "
            "--config.data.image_size=N takes another."
        )
    return settings.at_size(size)


def _is_forward(phase: Phase) -> bool:
    """Tell if a phase's step costs what the body's forward pass does."""
    return phase.inputs == "augmented" and not phase.trains_body and phase.microbatches == 1


class Lowered(NamedTuple):
    """A program to be compiled, and the operations that were counted in it (flops.py)."""

    program: Any
    operations: float


class Job(NamedTuple):
    """A program to compile, and how often its one loop runs (costs.of_compiled).

    `size` orders jobs by about how long they compile.
    """

    name: str
    call: Call
    passes: int
    size: int

    def lower(self) -> Lowered:
        """Trace it, count, and lower; while the target is the platform."""
        traced = self.call.trace()
        return Lowered(traced.lower(), flops.of_traced(traced))


def step_job(spec: StepSpec, settings: Settings, weights: Weights, target: Target) -> Job:
    """The phase's own step (cached: an epoch of one step) on shapes.

    `weights` are shapes too. Call it, and lower it, while the target is the platform.
    """
    size = 0 if spec.phase.inputs == "cached" else len(spec.phase.groups)
    call = programs.of_phase(spec, settings, weights, target.mesh)
    return Job(spec.phase.name, call, spec.phase.microbatches, size)


def _compile_all(
    jobs: Mapping[Any, Job], settings: Settings, target: Target, console: Console
) -> dict[Any, Program]:
    """Lower one after the other, compile side by side, the longest first."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        waiting = {}
        for key, job in sorted(jobs.items(), key=lambda item: -item[1].size):
            console.say(f"compiling {_described(job)} for {target.name} ...")
            waiting[key] = threads.submit(compile_job, job, job.lower(), settings, target)
        for future in as_completed(waiting.values()):
            program = future.result()
            console.say(f"{program.name} compiled in {program.compile_seconds:.0f} s")
        return {key: future.result() for key, future in waiting.items()}


def _described(job: Job) -> str:
    what = "the extraction of " if job.name.startswith(programs.FORWARD) else "the step of "
    return what + job.name


def compile_job(job: Job, lowered: Lowered, settings: Settings, target: Target) -> Program:
    """A job that was lowered, as a program with its costs."""
    started = time.perf_counter()
    found: Costs | Refusal
    try:
        compiled = lowered.program.compile()
        found = costs.of_compiled(compiled, target.device, job.passes, lowered.operations)
    except jax.errors.JaxRuntimeError as error:
        short = shortage.of_message(str(error))
        if short is None or short.needed is None or short.allowed is None:
            raise
        found = Refusal(short.needed, short.allowed)
    share = settings.data.batch_size // target.mesh.size
    return Program(job.name, share, found, time.perf_counter() - started)


def fit_of(program: Program, memory: float | None, devices: int) -> Fit:
    """A program against a device's pool (bytes, None if unknown)."""
    found = program.costs
    if isinstance(found, Refusal):
        # What of it is arguments is not known: all of it is taken to grow with the batch.
        images = int(program.images * found.allowed / found.needed)
        return Fit(False, found.needed, found.allowed, _batch(images, devices))
    used = found.memory
    if memory is None:
        return Fit(None, used.total, None, None)
    growing = max(used.temporary, 1) / program.images
    images = int((memory - (used.total - used.temporary)) / growing)
    return Fit(used.total <= memory, used.total, memory, _batch(images, devices))


def _batch(images: int, devices: int) -> int | None:
    """The batch over all devices, of multiples of 8 images each where there are so many."""
    if images < 1:
        return None
    return devices * (images // 8 * 8 if images >= 8 else images)


def _phase(
    spec: StepSpec, settings: Settings, sizes: Sizes, program: Program, forward: Program
) -> PhasePlan:
    phase = spec.phase
    shapes = programs.weight_shapes(spec.model).params
    trained = {group: jax.tree.leaves(shapes[group]) for group in phase.groups}
    epochs = sum(phase.cycle_lengths)
    steps = epochs * spec.steps_per_epoch
    finder_steps = settings.finder.steps if phase.lr == "find" else 0
    each, pass_seconds = _seconds(program), _seconds(forward)
    extraction = total = None
    if each is not None and pass_seconds is not None:
        per_image = pass_seconds / spec.batch_size
        cached = sizes.train * phase.views if phase.inputs == "cached" else 0
        held_out = sizes.valid * (epochs if phase.trains_body else 1)
        extraction = per_image * cached
        standing_still = pass_seconds if phase.trains_body else each
        finder = finder_steps * (each + standing_still)
        measured = rebase.batches(spec) * pass_seconds
        total = steps * each + finder + measured + extraction + per_image * held_out
    return PhasePlan(
        name=phase.name,
        trains=phase.groups,
        parameters=sum(int(np.prod(leaf.shape)) for group in trained.values() for leaf in group),
        inputs=phase.inputs,
        epochs=epochs,
        at_most=phase.until_overfit,
        steps=steps,
        finder_steps=finder_steps,
        program=program,
        step_seconds=each,
        extraction_seconds=extraction,
        seconds=total,
    )


def _seconds(program: Program) -> float | None:
    return program.costs.seconds if isinstance(program.costs, Costs) else None
