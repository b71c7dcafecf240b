"""Work and cost of a run, and of its phases."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxft.config.settings import Settings
from jaxft.costs.program import Fit, Program, fit_of
from jaxft.costs.sizes import Sizes
from jaxft.devices.pool import Pool
from jaxft.devices.topology import Target


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
