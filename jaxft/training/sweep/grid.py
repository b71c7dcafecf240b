"""The settings that a sweep tries, each as a config of its own."""

import copy
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxft.config import load
from jaxft.config.phase import path_of
from jaxft.config.settings import Settings
from jaxft.errors import UserError

RATES = {
    "sgd": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
DECAYS = {"sgd": (0.0, 1e-4), "adamw": (0.0, 1e-2)}
DROPOUTS = (0.0, 0.25, 0.5)
SMOOTHINGS = (0.0, 0.1)


@dataclass(frozen=True)
class Grid:
    """Values to combine; an empty tuple stands for the usual ones, or for the config's own widths.

    Attributes:
      hidden: widths of the hidden layers of each head to try; () = one linear layer.
      dropout: rates before a head's last layer; those before the others are half of it.
      seeds: number of seeds of each setting, from the config's own on.
      epochs: of the phase; 0 = as the config says.
    """

    lr: tuple[float, ...] = ()
    weight_decay: tuple[float, ...] = ()
    dropout: tuple[float, ...] = ()
    hidden: tuple[tuple[int, ...], ...] = ()
    smoothing: tuple[float, ...] = ()
    seeds: int = 1
    epochs: int = 0

    def filled(self, settings: Settings) -> "Grid":
        """Return the grid with values for all that was left open."""
        name = settings.optimizer.name
        return dataclasses.replace(
            self,
            lr=self.lr or RATES[name],
            weight_decay=self.weight_decay or DECAYS[name],
            dropout=self.dropout or DROPOUTS,
            hidden=self.hidden or (settings.model.hidden,),
            smoothing=self.smoothing or SMOOTHINGS,
        )


class Point(NamedTuple):
    """One setting: a value for everything that varies but the seed."""

    hidden: tuple[int, ...]
    lr: float
    weight_decay: float
    dropout: float
    smoothing: float

    def set_in(self, plain: dict[str, Any], index: int) -> dict[str, Any]:
        """Return a config, as plain data, with these values, and the rate in phase `index`."""
        changed = copy.deepcopy(plain)
        rates = [*(self.dropout / 2 for _ in self.hidden), self.dropout]
        changed["model"].update(hidden=list(self.hidden), dropout=rates)
        changed["optimizer"]["weight_decay"] = self.weight_decay
        changed["augment"]["label_smoothing"] = self.smoothing
        changed["phases"][index]["lr"] = self.lr
        return changed


def points(grid: Grid) -> list[Point]:
    """Return every combination once; a head of one layer has no dropout to vary."""
    combined = itertools.product(
        grid.hidden, grid.lr, grid.weight_decay, grid.dropout, grid.smoothing
    )
    found = (Point(*values) for values in combined)
    return list(dict.fromkeys(p if p.hidden else p._replace(dropout=0.0) for p in found))


def with_epochs(plain: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return a config whose phase on cached features lasts this many epochs; 0 = its own.

    Raises:
      UserError: the phase has cycles.
    """
    changed = copy.deepcopy(plain)
    for phase in changed["phases"] if epochs else ():
        if phase["inputs"] != "cached":
            continue
        if phase["schedule"] == "sgdr":
            raise UserError(
                f"--epochs={epochs}: phase {phase['name']} consists of cycles",
                hint="Set its cycles, cycle_epochs and cycle_mult in the config.",
            )
        phase["epochs"] = epochs
        break
    return changed


def demand_phase(settings: Settings) -> int:
    """Return the index of the phase that a sweep is of: the first on cached features.

    Raises:
      UserError: there is none, another phase comes before it, or it has no fixed end.
    """
    names = [phase.name for phase in settings.phases]
    cached = [i for i, phase in enumerate(settings.phases) if phase.inputs == "cached"]
    if not cached:
        raise UserError(
            'A sweep trains heads on cached features, and no phase has inputs="cached":',
            names,
        )
    phase = settings.phases[cached[0]]
    if cached[0] > 0:
        raise UserError(
            f"A sweep trains new heads, but before {phase.name}, on cached features, there come:",
            names[: cached[0]],
        )
    if phase.until_overfit:
        raise UserError(
            f"{phase.name}: cycles='until_overfit' would end each head at another time",
            hint=f"Set a number: --config.{path_of(settings.phases, 0)}.cycles=3.",
        )
    return 0


def settings_of(plain: dict[str, Any], index: int, tried: Sequence[Point]) -> list[Settings]:
    """Read the config of every point.

    Raises:
      UserError: lists every value that makes no sense, once.
    """
    found: list[Settings] = []
    problems: dict[str, None] = {}
    for point in tried:
        try:
            found.append(load.from_dict(point.set_in(plain, index)))
        except UserError as error:
            problems |= dict.fromkeys(error.offenders)
    if problems:
        raise UserError("These settings of the sweep make no sense:", problems)
    return found
