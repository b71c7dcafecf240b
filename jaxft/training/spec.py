"""Specification of a phase's train step."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import optax

from jaxft.augment.augmentation import Augmentation
from jaxft.config.phase import Phase
from jaxft.config.settings import Settings
from jaxft.data.balance import UNBALANCED, Balance
from jaxft.devices.sharding import AXIS
from jaxft.models.model import Model
from jaxft.recipe import optim, schedules


@dataclass(frozen=True)
class StepSpec:
    """Everything that a phase's train step depends on besides its arguments."""

    model: Model
    phase: Phase
    phase_index: int
    optimizer: optax.GradientTransformationExtraArgs
    augmentation: Augmentation
    image_size: int
    batch_size: int
    examples: int
    balance: Balance = UNBALANCED
    deterministic: bool = False
    overlap_gradients: bool = False
    ema_decay: float = 0.0
    skips_nonfinite: bool = False
    smoothing: Any = None  # of the labels, in place of the augmentation's; it may be traced

    @property
    def label_smoothing(self) -> Any:
        """Share of a label that is spread evenly over all classes; it may be traced."""
        return self.augmentation.label_smoothing if self.smoothing is None else self.smoothing

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the remainder is dropped."""
        return self.examples // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of all cycles that the phase may run."""
        return sum(self.phase.cycle_lengths) * self.steps_per_epoch

    def rates_length(self, finder_steps: int) -> int:
        """Entries of the table of rates: one length, so one program, for range test and phase."""
        return max(self.total_steps, finder_steps if self.phase.lr == "find" else 0)

    @property
    def training(self) -> frozenset[str]:
        """The groups whose BatchNorm follows the batch (bn="frozen" exempts the body)."""
        names = frozenset(self.phase.groups)
        return names & {"head"} if self.phase.bn == "frozen" else names

    @property
    def rebased(self) -> frozenset[str]:
        """The groups whose BatchNorm gets statistics of these images before the first step."""
        return self.training - {"head"} if self.phase.bn == "rebased" else frozenset()

    @property
    def bn_axis(self) -> str | None:
        """The mesh axis over which BatchNorm shares its statistics."""
        return None if self.phase.bn == "per_device" else AXIS


def spec_of(settings: Settings, model: Model, index: int, examples: int) -> StepSpec:
    """As `make_spec`, for a number of training examples that need not exist.

    Their classes are then unknown, so skewed ones are not corrected. Random weights are not
    rebased: with them, BatchNorm is what makes the network train at all.
    """
    phase = settings.phases[index]
    if settings.from_scratch and phase.bn == "rebased":
        phase = dataclasses.replace(phase, bn="train")
    return StepSpec(
        model=model,
        phase=phase,
        phase_index=index,
        optimizer=optimizer_of(settings, phase, examples),
        augmentation=settings.augment,
        image_size=phase.image_size,
        batch_size=settings.data.batch_size,
        examples=examples,
        deterministic=settings.deterministic,
        overlap_gradients=settings.overlap_gradients,
        ema_decay=settings.optimizer.ema_decay,
        skips_nonfinite=settings.on_nonfinite == "skip",
    )


def optimizer_of(
    settings: Settings, phase: Phase, examples: int, weight_decay: Any = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a phase over `examples` images; `weight_decay` as in transformation."""
    steps = sum(phase.cycle_lengths) * (examples // settings.data.batch_size)
    momentum = schedules.one_cycle_momentum(steps) if phase.schedule == "one_cycle" else None
    return optim.transformation(phase.groups, settings.optimizer, momentum, weight_decay)
