"""Values of a config that depend on the weights a run begins with."""

import dataclasses
from contextlib import suppress
from typing import Any

from jaxft.config.load import from_dict
from jaxft.config.plain import as_dict
from jaxft.config.settings import Settings
from jaxft.errors import UserError
from jaxft.models.body import Preprocessing
from jaxft.models.registry import BODIES
from jaxft.models.weights import pretrained
from jaxft.models.weights.preprocessing import of_run
from jaxft.runtime import paths


def expected(settings: Settings) -> Preprocessing:
    """Return the preprocessing that a run's first weights expect.

    Raises:
      UserError: it is stored beside the weights, and cannot be read or fetched.
    """
    if settings.init_from:
        return of_run(paths.of(settings.init_from))
    return pretrained.preprocessing(settings.model.name, settings.model.weights)


def expected_size(settings: Settings) -> tuple[int, bool]:
    """Return the image size that the weights expect, and whether it is certain.

    Works without a connection: only a file or a run on this machine is read, if it exists. For
    all other weights it is the model's usual size.
    """
    kind, _, file = settings.model.weights.partition(":")
    place = settings.init_from or (file if kind == "file" else "")
    if settings.from_scratch:
        return _usual_size(settings), True
    if place and not paths.is_remote(place):
        with suppress(UserError):
            return expected(settings).image_size, True
    return _usual_size(settings), False


def _usual_size(settings: Settings) -> int:
    return BODIES[settings.model.name]("float32", "auto").preprocessing.image_size


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
