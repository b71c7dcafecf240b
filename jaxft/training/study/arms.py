"""The arms of a study: runs that differ in the head's epochs before the same unfreezing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxft.config import load
from jaxft.config.settings import Settings
from jaxft.errors import UserError

DRIFT_IMAGES = 512  # where the config asks for none

Plain = dict[str, Any]


class Arm(NamedTuple):
    """A run: so many epochs of the head on cached features, then the phases that train the body."""

    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"head{self.epochs:03}-seed{self.seed}"


def arms(epochs: Sequence[int], seeds: Sequence[int], usual: int) -> list[Arm]:
    """Return all arms; the first, whose rates the others take, is nearest to the usual epochs."""
    lengths = sorted(set(epochs))
    trained = [length for length in lengths if length] or lengths
    pilot = Arm(min(trained, key=lambda length: abs(length - usual)), seeds[0])
    every = [Arm(length, seed) for seed in seeds for length in lengths]
    return [pilot, *(arm for arm in every if arm != pilot)]


def demand_phases(settings: Settings) -> tuple[int, list[int]]:
    """Return the index of the first phase on cached features, and of those that train the body.

    Raises:
      UserError: there is no phase of the one kind, or of the other.
    """
    cached = [i for i, phase in enumerate(settings.phases) if phase.inputs == "cached"]
    body = [i for i, phase in enumerate(settings.phases) if phase.trains_body]
    missing = [
        what
        for what, found in (
            ('one that trains the head on cached features (inputs="cached")', cached),
            ("one that trains the body", body),
        )
        if not found
    ]
    if missing:
        names = ", ".join(phase.name for phase in settings.phases)
        raise UserError(f"A study needs phases that this config lacks (it has {names}):", missing)
    return cached[0], body


def config_of(arm: Arm, plain: Mapping[str, Any], head: int, body: Sequence[int]) -> Plain:
    """Return the config of an arm's run, as plain data.

    The head's phase has a constant rate, so that its first epochs are the same in every arm of a
    seed: each arm begins with a snapshot of one training.

    Args:
      plain: the user's config.
      head, body: indices as from `demand_phases`.
    """
    changed = dict(plain)
    phases = changed["phases"]
    first = {**phases[head], "epochs": arm.epochs, "schedule": "constant", "warmup_epochs": 0.0}
    if first["lr"] == "previous":
        first["lr"] = "find"
    chosen = [first] * bool(arm.epochs) + [phases[i] for i in body]
    changed["phases"], changed["seed"] = chosen, arm.seed
    changed["drift_images"] = changed["drift_images"] or DRIFT_IMAGES
    if chosen[0]["lr"] == "previous":
        chosen[0] = {**chosen[0], "lr": "find"}
    return changed


def with_rates(plain: Plain, rates: Mapping[str, float]) -> Plain:
    """Return a config whose phases have these rates, by name."""
    phases = [{**phase, "lr": rates.get(phase["name"], phase["lr"])} for phase in plain["phases"]]
    return {**plain, "phases": phases}


def demand_sense(configs: Sequence[Plain]) -> None:
    """Read every arm's config.

    Raises:
      UserError: lists every value that makes no sense, once.
    """
    problems: dict[str, None] = {}
    for plain in configs:
        try:
            load.from_dict(plain)
        except UserError as error:
            problems |= dict.fromkeys(error.offenders)
    if problems:
        raise UserError("These settings of the study make no sense:", problems)
