"""Work and cost of one phase."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from jaxft.config.settings import Settings
from jaxft.costs import programs
from jaxft.costs.compilation import Program
from jaxft.costs.costs import Costs
from jaxft.costs.sizes import Sizes
from jaxft.training import rebase
from jaxft.training.spec import StepSpec


@dataclass(frozen=True)
class PhasePlan:
    """A phase: its trained groups, its length and its cost.

    `epochs` and `steps` are the most where over-fitting ends the phase; the range test's
    `finder_steps` come on top, and as many steps of unmoved weights. `seconds` is the estimate for
    the whole phase except trials on cached features, None where nothing is known of the device;
    `extraction_seconds` is its part that computes cached features, before the first step.
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


def plan_phase(
    spec: StepSpec, settings: Settings, sizes: Sizes, program: Program, forward: Program
) -> PhasePlan:
    """Add up a phase from the costs of its step, `program`, and of the body's `forward` pass."""
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
