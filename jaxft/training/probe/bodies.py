"""The bodies that a probe compares: a model and weights each, as a config names them."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxft.config import load
from jaxft.config.settings import Settings
from jaxft.errors import UserError
from jaxft.models.registry import BODIES
from jaxft.models.weights import pretrained
from jaxft.models.weights.named_file import named
from jaxft.runtime import paths

USUAL = "imagenet"


class Body(NamedTuple):
    """The values of `config.model.name` and `config.model.weights`."""

    model: str
    weights: str

    @property
    def name(self) -> str:
        """The body as the command line has it."""
        return f"{self.model}:{self.weights}"

    def set_in(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Return a config, as plain data, with this body."""
        changed = copy.deepcopy(plain)
        changed["model"].update(name=self.model, weights=self.weights)
        return changed


def parsed(words: Sequence[str]) -> list[Body]:
    """Read MODEL or MODEL:WEIGHTS, each once; without weights they are `imagenet`."""
    pairs = (word.partition(":") for word in words)
    return list(dict.fromkeys(Body(model, weights or USUAL) for model, _, weights in pairs))


def usual(plain: dict[str, Any]) -> list[Body]:
    """Return the config's own body, and all whose usual weights are on this machine."""
    own = Body(plain["model"]["name"], plain["model"]["weights"])
    here = [Body(model, USUAL) for model in BODIES if pretrained.is_here(model, USUAL)]
    return list(dict.fromkeys([own, *here]))


def settings_of(plain: dict[str, Any], bodies: Sequence[Body]) -> list[Settings]:
    """Read the config with every body.

    Raises:
      UserError: lists every mistake in the config, unknown model, unknown name of weights and
        file of weights that is not there.
    """
    found: list[Settings] = []
    problems: dict[str, None] = {}
    for body in bodies:
        try:
            found.append(load.from_dict(body.set_in(plain)))
        except UserError as error:
            problems |= dict.fromkeys(error.offenders)
    if plain.get("init_from"):
        problems["config.init_from would take the place of every body's weights"] = None
    files = {b: named(b.weights).path for b in bodies if b.weights.startswith("file:")}
    if remote := [file for file in files.values() if paths.is_remote(file)]:
        paths.demand(*remote)
    problems |= {f"{b.name}: no such file": None for b, f in files.items() if not f.exists()}
    if problems:
        raise UserError("These bodies cannot be probed:", problems)
    return found
