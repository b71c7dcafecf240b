"""Settings of a run: a config, checked, frozen and typed."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jaxft.augment.augmentation import Augmentation
from jaxft.config.phase import Phase, path_of
from jaxft.config.sections import DataSettings, ModelSettings, PlanSettings
from jaxft.recipe.finder.settings import FinderSettings
from jaxft.recipe.optim import OptimizerSettings
from jaxft.recipe.overfit import OverfitSettings


@dataclass(frozen=True)
class Settings:
    """A whole config, checked. `phases` is the recipe."""

    seed: int
    init_from: str
    cache_dir: str
    checkpoint_minutes: float
    checkpoint_keep: int
    checkpoint_keep_every: int
    track: str
    deterministic: bool
    overlap_gradients: bool
    best_by: Literal["val_loss", "accuracy"]
    drift_images: int
    average_cycles: int
    on_nonfinite: Literal["stop", "skip", "rewind"]
    nonfinite_skips: int
    nonfinite_rewinds: int
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
        """Set the image size of `data`, and of every phase that names none."""
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, image_size=image_size),
            phases=tuple(
                dataclasses.replace(phase, image_size=phase.image_size or image_size)
                for phase in self.phases
            ),
        )

    def problems(self) -> Iterator[str]:
        """Yield a message for each senseless value outside sections, and for clashing phases."""
        if not 0 <= self.seed < 2**31:
            yield "seed should be from 0 to 2147483647"
        if not self.checkpoint_minutes > 0:
            yield "checkpoint_minutes should be more than 0"
        if not self.checkpoint_keep >= 1:
            yield "checkpoint_keep should be 1 or more"
        if not self.checkpoint_keep_every >= 0:
            yield "checkpoint_keep_every should be 0 or more"
        if not self.drift_images >= 0:
            yield "drift_images should be 0 or more"
        for key in ("nonfinite_skips", "nonfinite_rewinds"):
            if getattr(self, key) < 1:
                yield f"{key} should be 1 or more"
        yield from self._problems_of_averages()
        if not self.phases:
            yield "phases should have at least one phase"
        names = [phase.name for phase in self.phases]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                yield f"phases: two phases are named {name!r}"
        if self.phases and self.phases[0].lr == "previous":
            yield f"{path_of(self.phases, 0)}.lr is 'previous', but no phase comes before it"

    def _problems_of_averages(self) -> Iterator[str]:
        most = sum(phase.most_cycles for phase in self.phases if phase.trains_body)
        if self.average_cycles < 0 or self.average_cycles == 1:
            yield f"average_cycles is {self.average_cycles}; it should be 0, or 2 or more"
        elif self.average_cycles and most < 2:
            yield (
                f"average_cycles is {self.average_cycles}, but the phases that train the body have "
                f"{most} cycle{'s' * (most != 1)} in all; an average takes two"
            )
