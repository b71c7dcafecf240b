"""Speed of a config's programs on the devices that are there: compiled, warmed up, timed.

The programs are those of the run (programs.py), driven as its loop drives them: an execution is
dispatched before the result of the previous one is awaited. A repeat is the time from one result
to the next.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxft.config.settings import Settings
from jaxft.costs import costs, flops, programs, timed
from jaxft.costs.assumptions import without_weights
from jaxft.costs.call import Call
from jaxft.costs.costs import Costs
from jaxft.costs.figures import Figures
from jaxft.costs.job import WARM_UP, Job, Program
from jaxft.costs.sizes import Sizes
from jaxft.devices import platform, pool, sharding
from jaxft.devices.topology import Target
from jaxft.materials import opening, shortage
from jaxft.materials.model import create_model
from jaxft.materials.opening import check_batch_size
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console


class Times(NamedTuple):
    """Seconds of every repeat, and the share of them spent waiting for input."""

    seconds: tuple[float, ...]
    waited: float


def synthetic(
    settings: Settings, sizes: Sizes, target: Target, repeats: int, console: Console
) -> Job:
    """Return a job on random images, of the numbers in `sizes`, and random weights.

    Raises:
      UserError: the batch cannot be divided over the devices, or is larger than the data set.
    """
    settings = without_weights(settings, console)
    check_batch_size(settings, sizes.train, target.mesh.size)
    model = create_model(settings, sizes.classes)
    with shortage.told(settings, "before the first step"):
        weights = Weights(*jax.jit(model.init)(jax.random.key(settings.seed)))
        weights = sharding.replicate(weights, target.mesh)
    size = settings.phases[0].image_size
    return Job(settings, size, sizes, target, model, weights, repeats, console)


def real(settings: Settings, target: Target, repeats: int, console: Console) -> Job:
    """Return a job on the images and weights of a config.

    Raises:
      UserError: as `run.prepare`.
    """
    with shortage.told(settings, "before the first step"):
        materials, initial = opening.prepare(settings, console)
        weights = sharding.replicate(initial, target.mesh)
    data = materials.dataset
    sizes = Sizes(len(data.train), len(data.valid), len(data.classes), settings.data.source)
    given = (sizes, target, materials.model, weights, repeats, console, materials)
    return Job(settings, materials.image_size, *given)


def make(job: Job) -> Iterator[Figures]:
    """Measure the extraction of features, then every distinct program of the phases.

    Raises:
      UserError: a program needs more memory than there is.
    """
    phases: dict[Any, list[int]] = {}
    for index, phase in enumerate(job.settings.phases):
        phases.setdefault(programs.distinct(phase), []).append(index)
    for size in programs.image_sizes(job.settings):
        job = job.at_size(size)
        here = [i for i in phases.values() if job.settings.phases[i[0]].image_size == size]
        for program in (timed.forward(job), *(timed.of_phases(job, indices) for indices in here)):
            with shortage.told(job.settings, f"in the step of {program.name}", program.phase):
                figures = measure(job, program)
            yield figures


def measure(job: Job, program: Program) -> Figures:
    """Compile a program and time it."""
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
        image_size=job.image_size,
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
    """Return the costs of one step, by the program that was timed."""
    if program.steps > 1:
        return costs.of_epoch(compiled, job.target.device, program.steps, counted)
    return costs.of_compiled(compiled, job.target.device, program.passes, counted)


def repeat(
    execute: Callable[[Any], Any], feed: Iterator[Any], repeats: int, bar: "tqdm[Any]"
) -> Times:
    """Time `repeats` executions, after WARM_UP others, each on the next item of `feed`.

    The next execution is under way while a result is awaited; where dispatch itself waits, as on
    CPU, the time of the next execution counts.
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


def model_flops(neutral: Callable[[Mesh, int], Call], share: int) -> float:
    """Count a step's matrix arithmetic, as the model is written, on a device's share of a batch.

    The step is traced for no platform in particular, so that zeros of packed kernels do not count.
    """
    mesh = Mesh(np.asarray(jax.local_devices()[:1]), (sharding.AXIS,))
    with platform.targeting("none", ""):
        return flops.of_traced(neutral(mesh, share).trace())
