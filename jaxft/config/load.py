"""Read a config once: check all of it, and freeze it into dataclasses."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxft.config import unset
from jaxft.config.names import unknown_names
from jaxft.config.plain import as_dict
from jaxft.config.resolve import expected
from jaxft.config.schema import shape_errors
from jaxft.config.settings import Settings
from jaxft.errors import UserError
from jaxft.models.variables import GROUPS


def read(config: ConfigDict) -> Settings:
    """Check a config completely and freeze it.

    Raises:
      UserError: lists every unknown, missing, mistyped or senseless key.
    """
    return from_dict(as_dict(config))


def from_dict(plain: dict[str, Any]) -> Settings:
    """Read a config as plain data, such as `config.json` holds; raises as `read`."""
    plain = unset.filled(plain)
    errors = list(shape_errors(Settings, plain, "config"))
    # A value of the wrong type, reported already, may be one that nothing can be asked about.
    with suppress(KeyError, TypeError, AttributeError) if errors else nullcontext():
        settings: Settings = _freeze(Settings, plain)
        errors += [f"config.{problem}" for problem in _problems(settings)]
    if errors:
        raise UserError("The config has mistakes:", errors, "configs/base.py explains every key.")
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
        yield from phase.problems(f"phases[{index}]")


def resolved(config: Any) -> dict[str, Any]:
    """Return a config as plain data, in which nothing depends on platform or weights any more.

    Raises:
      UserError: as `read`; or the weights' own values are wanted and cannot be read or fetched.
    """
    plain: dict[str, Any] = as_dict(config)
    settings = from_dict(plain)
    plain["augment"] = dataclasses.asdict(settings.augment)
    plain["finder"].update(lo=settings.finder.lo, hi=settings.finder.hi)
    plain["model"]["dtype"] = settings.model.compute_dtype
    data = plain["data"]
    if data["image_size"] == 0 or data["interpolation"] == "auto":
        own = expected(settings)
        data["image_size"] = data["image_size"] or own.image_size
        if data["interpolation"] == "auto":
            data["interpolation"] = own.interpolation
    return plain


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
