"""One phase of a recipe."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxft.config import image_sizes, phase_names
from jaxft.errors import UserError
from jaxft.recipe import schedules

LEAST_WARM_STEPS = 20  # if the rate rises within fewer, the loss jumps
MOST_EPOCHS = 10_000
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
    def counted_by(self) -> str:
        """Key of the number that says how long the phase may last."""
        if self.schedule != "sgdr":
            return "epochs"
        return "max_cycles" if self.until_overfit else "cycles"

    @property
    def cycle_lengths(self) -> tuple[int, ...]:
        """Epochs of every cycle that the phase may run; a phase without restarts has one cycle."""
        if self.schedule != "sgdr":
            return (self.epochs,)
        return schedules.cycle_lengths(self.most_cycles, self.cycle_epochs, self.cycle_mult)

    @property
    def most_cycles(self) -> int:
        """Number of cycles that the phase may run."""
        if self.schedule != "sgdr":
            return 1
        return self.max_cycles if isinstance(self.cycles, str) else self.cycles

    @property
    def trains_body(self) -> bool:
        """True where any group but the head learns."""
        return any(group != "head" for group in self.groups)

    def warm_steps(self, steps_per_epoch: int) -> int:
        """Steps of the warm-up.

        It leaves the first cycle at least one step; but where epochs are short, it takes
        LEAST_WARM_STEPS, or a third of the phase if that is less.
        """
        if not self.warmup_epochs:
            return 0
        first, *_ = lengths = [epochs * steps_per_epoch for epochs in self.cycle_lengths]
        least = min(LEAST_WARM_STEPS, sum(lengths) // 3)
        return max(min(round(self.warmup_epochs * steps_per_epoch), first - 1), least)

    def rates(self, lr: float, steps_per_epoch: int) -> schedules.Schedule:
        """Return the schedule with its peak at `lr`; a warm-up shortens the first cycles."""
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

    def problems(self, path: str) -> Iterator[str]:
        """Yield a message for each value that makes no sense, alone or with others.

        Args:
          path: of this phase in the config, such as `phases.full`.
        """
        yield from self._problems_of_inputs(path)
        yield from self._problems_of_schedule(path)
        if not re.fullmatch(phase_names.NAME, self.name):
            yield f"{path}.name is {self.name!r}; it should consist of letters, digits, _ and -"
        counts = ("epochs", "cycles", "max_cycles", "cycle_epochs", "cycle_mult", "microbatches")
        for key in (*counts, "views"):
            count = getattr(self, key)
            if not isinstance(count, str) and count < 1:
                yield f"{path}.{key} is {count}; it should be 1 or more"

    def _problems_of_inputs(self, path: str) -> Iterator[str]:
        if not self.groups:
            yield f"{path}.groups: every group is frozen; at least one multiplier should be above 0"
        if self.inputs == "cached" and self.trains_body:
            groups = ", ".join(self.groups)
            yield f"{path}.inputs is cached, which can train the head only, not {groups}"
        if self.inputs == "cached" and self.microbatches > 1:
            yield f"{path}.microbatches should be 1: a batch of cached features is small"
        if not image_sizes.is_allowed(self.image_size):
            sizes = f"{image_sizes.ALLOWED} (data.image_size)"
            yield f"{path}.image_size is {self.image_size}; it should be {sizes}"

    def _problems_of_schedule(self, path: str) -> Iterator[str]:
        if isinstance(self.lr, str):
            if self.lr not in ("find", "previous"):
                yield f"{path}.lr is {self.lr!r}; it should be a number, 'find' or 'previous'"
        elif not self.lr > 0:
            yield f"{path}.lr is {self.lr}; it should be more than 0"
        if isinstance(self.cycles, str) and self.cycles != UNTIL_OVERFIT:
            yield f"{path}.cycles is {self.cycles!r}; it should be a number or '{UNTIL_OVERFIT}'"
        if self._has_too_many_epochs():
            keys = "max_cycles or cycle_mult" if self.schedule == "sgdr" else "epochs"
            yield f"{path}: more than {MOST_EPOCHS} epochs; {keys} is too large"
        if self.warmup_epochs > 0 and self.schedule == "one_cycle":
            yield f"{path}.warmup_epochs should be 0: one_cycle has a warm-up of its own"
        first = self.cycle_epochs if self.schedule == "sgdr" else self.epochs
        if not 0 <= self.warmup_epochs <= first:
            yield (
                f"{path}.warmup_epochs is {self.warmup_epochs}; "
                f"it should be from 0 to {first}, the epochs of the first cycle"
            )

    def _has_too_many_epochs(self) -> bool:
        """Tell whether there are more than MOST_EPOCHS, without computing enormous numbers."""
        if self.schedule != "sgdr":
            return self.epochs > MOST_EPOCHS
        epochs, length = 0, self.cycle_epochs
        for _ in range(self.most_cycles):
            epochs, length = epochs + length, length * max(self.cycle_mult, 1)
            if epochs > MOST_EPOCHS:
                return True
        return False


def path_of(phases: Sequence[Phase], index: int) -> str:
    """Return a phase's place in a config, as the command line takes it: `phases.full`."""
    return phase_names.path_of("phases", [phase.name for phase in phases], index)


def index_of(phases: Sequence[Phase], name: str) -> int:
    """Return the position of the phase of a name; "" means the first that finds its rate, or 0.

    Raises:
      UserError: no phase has the name.
    """
    names = [phase.name for phase in phases]
    if name in names:
        return names.index(name)
    finding = [index for index, phase in enumerate(phases) if phase.lr == "find"]
    if not name:
        return finding[0] if finding else 0
    raise UserError(f"No phase is named {name!r}", hint=f"The phases are: {', '.join(names)}")
