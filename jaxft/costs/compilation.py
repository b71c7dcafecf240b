"""Programs of a run, compiled for a target side by side and never executed."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax

from jaxft.config.settings import Settings
from jaxft.costs import costs, flops, programs
from jaxft.costs.call import Call
from jaxft.costs.costs import Costs
from jaxft.costs.program import Program, Refusal
from jaxft.devices.topology import Target
from jaxft.materials import shortage
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console
from jaxft.training.spec import StepSpec


class Lowered(NamedTuple):
    """A program to be compiled, and its number of operations (flops.py)."""

    program: Any
    operations: float


class Job(NamedTuple):
    """A program to compile, and the turns of its one loop, `passes` (costs.of_compiled).

    `size` orders jobs by their expected time of compilation.
    """

    name: str
    call: Call
    passes: int
    size: int

    def lower(self) -> Lowered:
        """Trace, count and lower the program, while the target is the platform."""
        traced = self.call.trace()
        return Lowered(traced.lower(), flops.of_traced(traced))


def step_job(spec: StepSpec, settings: Settings, weights: Weights, target: Target) -> Job:
    """Return the phase's own step (cached: an epoch of one step) as a job on shapes.

    `weights` are shapes, too. Make the job, and lower it, while the target is the platform.
    """
    size = 0 if spec.phase.inputs == "cached" else len(spec.phase.groups)
    call = programs.of_phase(spec, settings, weights, target.mesh)
    return Job(spec.phase.name, call, spec.phase.microbatches, size)


def compile_all(
    jobs: Mapping[Any, Job], settings: Settings, target: Target, console: Console
) -> dict[Any, Program]:
    """Lower jobs one after the other, and compile them side by side, the longest first."""
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
    """Compile a lowered job into a program with its costs."""
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
