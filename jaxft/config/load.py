"""Read a config once: check all of it, and freeze it into dataclasses."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from os import PathLike
from typing import Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxft.config import tracking, unset
from jaxft.config.phase import path_of
from jaxft.config.plain import as_dict
from jaxft.config.schema import shape_errors
from jaxft.config.settings import Settings
from jaxft.errors import UserError
from jaxft.models.conv.lowerings import LOWERINGS, is_lowering
from jaxft.models.registry import BODIES
from jaxft.models.variables import GROUPS
from jaxft.models.weights import hub, sources
from jaxft.recipe.finder.rules import RULES
from jaxft.recipe.finder.settings import AUTO


def read(config: ConfigDict | dict[str, Any], trains_in: str | PathLike[str] = "") -> Settings:
    """Check a config completely and freeze it.

    Args:
      config: a ConfigDict, or the same as plain data.
      trains_in: the workdir of a run that is to begin, which takes the packages of its trackers.

    Raises:
      UserError: lists every unknown, missing, mistyped or senseless key.
    """
    return from_dict(as_dict(config), trains_in)


def from_dict(plain: dict[str, Any], trains_in: str | PathLike[str] = "") -> Settings:
    """Read a config as plain data, such as `config.json` holds; otherwise as `read`."""
    plain = unset.filled(plain)
    errors = list(shape_errors(Settings, plain, "config"))
    # A value of the wrong type, reported already, may be one that nothing can be asked about.
    with suppress(KeyError, TypeError, AttributeError) if errors else nullcontext():
        settings: Settings = _freeze(Settings, plain)
        errors += [f"config.{problem}" for problem in _problems(settings)]
        if trains_in:
            errors += [f"config.{lack}" for lack in tracking.missing(settings.track, trains_in)]
    if errors:
        raise UserError("The config has mistakes:", errors, "`jaxft keys` explains every key.")
    return settings.at_size(settings.data.image_size)


def _problems(settings: Settings) -> Iterator[str]:
    """Yield a message for each value that makes no sense, section by section."""
    yield from settings.problems()
    yield from settings.data.problems()
    yield from unknown_names(settings)
    yield from settings.model.problems()
    yield from settings.optimizer.problems()
    yield from settings.finder.problems()
    yield from settings.plan.problems()
    yield from settings.overfit.problems()
    yield from settings.augment.problems()
    for index, phase in enumerate(settings.phases):
        yield from phase.problems(path_of(settings.phases, index))


def _freeze(kind: Any, value: Any) -> Any:
    """Turn plain data into a dataclass, a tuple, the groups that train, or a number."""
    if dataclasses.is_dataclass(kind):
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        made: Any = kind
        return made(**{name: _freeze(wanted, value[name]) for name, wanted in fields.items()})
    if get_origin(kind) is tuple:
        return tuple(_freeze(get_args(kind)[0], item) for item in value)
    if get_origin(kind) is Mapping:
        return {group: float(value[group]) for group in GROUPS if value.get(group, 0) > 0}
    return float(value) if kind is float and isinstance(value, int | float) else value


def unknown_names(settings: Settings) -> Iterator[str]:
    """Yield a message for each name that nothing has."""
    yield from tracking.unknown(settings.track)
    model, rule = settings.model, settings.finder.rule
    known = model.name in BODIES
    named = sources.sources(model.name) if known else ("imagenet", *hub.all_tags(), "none")
    if not known:
        yield f"model.name is {model.name!r}; known: {', '.join(BODIES)}"
    if not re.match("file:.", model.weights) and model.weights not in named:
        yield (
            f"model.weights is {model.weights!r}; it should be file:PATH or one of "
            f"{', '.join(named)}"
        )
    if not is_lowering(model.conv):
        yield (
            f"model.conv is {model.conv!r}; it should be one of {', '.join(LOWERINGS)}, "
            "with WIDTH a power of 2"
        )
    if rule not in (AUTO, *RULES):
        yield f"finder.rule is {rule!r}; known: {', '.join([AUTO, *RULES])}"
