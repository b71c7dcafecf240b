"""Work and cost of a run, without its images, its weights, or the device.

The programs are those of the run itself (programs.py), lowered for shapes instead of arrays,
compiled once each, side by side, and never executed.
"""

from dataclasses import dataclass
from typing import Any

from jaxft.config.settings import Phase, Settings
from jaxft.costs import programs
from jaxft.costs.compilation import Job, Program, compile_all, step_job
from jaxft.costs.fit import Fit, fit_of
from jaxft.costs.phase_plan import PhasePlan, plan_phase
from jaxft.costs.sizes import Sizes, without_weights
from jaxft.devices import platform, pool
from jaxft.devices.pool import Pool
from jaxft.devices.topology import Target
from jaxft.materials import shortage
from jaxft.materials.model import create_model
from jaxft.materials.opening import check_batch_size
from jaxft.runtime.console import Console
from jaxft.training.spec import spec_of


@dataclass(frozen=True)
class Plan:
    """Work and cost of a run on a target."""

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
        """Program -> its verdict in the pool."""
        devices = self.target.mesh.size
        memory = None if self.pool is None else self.pool.bytes
        return {program.name: fit_of(program, memory, devices) for program in self.programs}


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
        plan_phase(s, settings, sizes, compiled[programs.distinct(s.phase)], forwards[s.image_size])
        for s in specs
    ]
    return Plan(target, settings, sizes, tuple(forwards.values()), tuple(phases), found)


def _is_forward(phase: Phase) -> bool:
    """Tell if a phase's step costs what the body's forward pass does."""
    return phase.inputs == "augmented" and not phase.trains_body and phase.microbatches == 1
