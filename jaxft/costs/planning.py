"""The plan of a run, made without its images, its weights, or the device.

The programs are those of the run itself (programs.py), lowered for shapes instead of arrays,
compiled once each, side by side, and never executed.
"""

from typing import Any

import jax
import numpy as np

from jaxft.config.phase import Phase
from jaxft.config.settings import Settings
from jaxft.costs import programs
from jaxft.costs.assumptions import without_weights
from jaxft.costs.compilation import Job, compile_all, step_job
from jaxft.costs.costs import Costs
from jaxft.costs.plan import PhasePlan, Plan
from jaxft.costs.program import Program
from jaxft.costs.sizes import Sizes
from jaxft.devices import platform, pool
from jaxft.devices.topology import Target
from jaxft.materials import shortage
from jaxft.materials.model import create_model
from jaxft.materials.opening import check_batch_size
from jaxft.recipe.finder import sweep
from jaxft.runtime.console import Console
from jaxft.training import range_test, rebase
from jaxft.training.spec import StepSpec, spec_of


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
            compiled = compile_all(jobs, settings, target, console)
    forwards = {size: compiled[key] for size, key in extraction.items()}
    phases = [
        _phase(s, settings, sizes, compiled[programs.distinct(s.phase)], forwards[s.image_size])
        for s in specs
    ]
    return Plan(target, settings, sizes, tuple(forwards.values()), tuple(phases), found)


def _is_forward(phase: Phase) -> bool:
    """Tell if a phase's step costs what the body's forward pass does."""
    return phase.inputs == "augmented" and not phase.trains_body and phase.microbatches == 1


def _phase(
    spec: StepSpec, settings: Settings, sizes: Sizes, program: Program, forward: Program
) -> PhasePlan:
    """Add up a phase from the costs of its step, `program`, and of the body's `forward` pass."""
    phase = spec.phase
    shapes = programs.weight_shapes(spec.model).params
    trained = {group: jax.tree.leaves(shapes[group]) for group in phase.groups}
    epochs = sum(phase.cycle_lengths)
    steps = epochs * spec.steps_per_epoch
    by_distance, finder_steps = rebase.by_distance(spec, settings), 0
    if phase.lr == "find":
        sought = range_test.sweep_settings(settings.finder, phase, by_distance)
        finder_steps = sweep.most_steps(sought)
    each, pass_seconds = _seconds(program), _seconds(forward)
    extraction = total = None
    if each is not None and pass_seconds is not None:
        per_image = pass_seconds / spec.batch_size
        cached = sizes.train * phase.views if phase.inputs == "cached" else 0
        held_out = sizes.valid * (epochs if phase.trains_body else 1)
        extraction = per_image * cached
        standing_still = pass_seconds if phase.trains_body else each
        finder = finder_steps * (each + standing_still)
        settled = sum(rebase.settling_batches(spec, epoch + 1) for epoch in range(epochs))
        scaled = rebase.distance_batches(spec) if by_distance else 0
        measured = (rebase.batches(spec) + scaled + settled) * pass_seconds
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
