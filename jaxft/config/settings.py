"""Settings of a run: a config, checked, frozen and typed."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxft.augment.augment import Augmentation
from jaxft.devices import platform
from jaxft.recipe import schedules
from jaxft.recipe.lr_finder import FinderSettings
from jaxft.recipe.optim import OptimizerSettings
from jaxft.recipe.overfit import OverfitSettings

LEAST_WARM_STEPS = 20  # of a warm-up: a rate that rises within fewer makes the loss jump


UNTIL_OVERFIT = "until_overfit"


@dataclass(frozen=True)
class Phase:
    """Layer groups that learn and how fast, from which inputs, for how long, on which schedule.

    `groups` names the trained groups only; every other group is frozen.
    """

    name: str
    groups: Mapping[str, float]
    inputs: Literal["augmented", "cached"]
    views: int
    image_size: int
    lr: float | str
    schedule: Literal["constant", "one_cycle", "sgdr"]
    epochs: int
    cycles: int | str
    max_cycles: int
    cycle_epochs: int
    cycle_mult: int
    warmup_epochs: float
    bn: Literal["rebased", "train", "per_device", "frozen"]
    microbatches: int

    @property
    def until_overfit(self) -> bool:
        """True where over-fitting ends the phase (`max_cycles` guards it)."""
        return self.schedule == "sgdr" and self.cycles == UNTIL_OVERFIT

    @property
    def cycle_lengths(self) -> tuple[int, ...]:
        """Epochs of every cycle that the phase may run; without restarts it is one cycle."""
        if self.schedule != "sgdr":
            return (self.epochs,)
        count = self.max_cycles if self.until_overfit else int(self.cycles)
        return schedules.cycle_lengths(count, self.cycle_epochs, self.cycle_mult)

    @property
    def trains_body(self) -> bool:
        """True where any group but the head learns."""
        return any(group != "head" for group in self.groups)

    def warm_steps(self, steps_per_epoch: int) -> int:
        """Steps of the warm-up: LEAST_WARM_STEPS or a third of the phase where epochs are short.

        Else it leaves the first cycle a step at least.
        """
        if not self.warmup_epochs:
            return 0
        first, *_ = lengths = [epochs * steps_per_epoch for epochs in self.cycle_lengths]
        least = min(LEAST_WARM_STEPS, sum(lengths) // 3)
        return max(min(round(self.warmup_epochs * steps_per_epoch), first - 1), least)

    def rates(self, lr: float, steps_per_epoch: int) -> schedules.Schedule:
        """The phase's schedule with its peak at `lr`; a warm-up shortens the first cycles."""
        left = warm = self.warm_steps(steps_per_epoch)
        cycle_steps = []
        for epochs in self.cycle_lengths:
            steps = epochs * steps_per_epoch
            if steps > left:
                cycle_steps.append(steps - left)
            left = max(left - steps, 0)
        schedule = {
            "constant": lambda: schedules.constant(lr),
            "one_cycle": lambda: schedules.one_cycle(lr, sum(cycle_steps)),
            "sgdr": lambda: schedules.sgdr(lr, cycle_steps),
        }[self.schedule]()
        return schedules.warm_up(schedule, warm)


@dataclass(frozen=True)
class DataSettings:
    """Settings of `config.data`; see configs/base.py for each key."""

    source: str
    image_size: int
    interpolation: Literal["auto", "bilinear", "bicubic"]
    batch_size: int
    valid_fraction: float
    split_seed: int
    folds: int
    fold: int
    balance: Literal["none", "sampling", "weights"]
    views_seed: int
    max_pixels: int
    skip_bad: bool
    memory_gb: float
    cache_memory_gb: float
    threads: int
    workers: int


@dataclass(frozen=True)
class ModelSettings:
    """Settings of `config.model`; see configs/base.py for each key."""

    name: str
    weights: str
    hidden: tuple[int, ...]
    dropout: tuple[float, ...]
    pooling: Literal["max_avg", "avg"]
    dtype: Literal["auto", "float32", "bfloat16"]
    conv: str

    @property
    def compute_dtype(self) -> str:
        """Dtype that the body computes in; `auto` is bfloat16 where the hardware is made for it."""
        if self.dtype != "auto":
            return self.dtype
        return "float32" if platform.current().name == "cpu" else "bfloat16"


@dataclass(frozen=True)
class PlanSettings:
    """Settings of `config.plan`; see configs/base.py for each key."""

    examples: int
    valid_examples: int
    classes: int


@dataclass(frozen=True)
class Settings:
    """A whole config, checked. `phases` is the recipe."""

    seed: int
    init_from: str
    cache_dir: str
    checkpoint_minutes: float
    deterministic: bool
    overlap_gradients: bool
    best_by: Literal["val_loss", "accuracy"]
    data: DataSettings
    augment: Augmentation
    model: ModelSettings
    optimizer: OptimizerSettings
    finder: FinderSettings
    overfit: OverfitSettings
    plan: PlanSettings
    phases: tuple[Phase, ...]

    @property
    def from_scratch(self) -> bool:
        """True where the body begins with random weights."""
        return self.model.weights == "none" and not self.init_from

    def at_size(self, image_size: int) -> "Settings":
        """With images of so many pixels: `data`'s, and those of every phase that names no size."""
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, image_size=image_size),
            phases=tuple(
                dataclasses.replace(phase, image_size=phase.image_size or image_size)
                for phase in self.phases
            ),
        )
