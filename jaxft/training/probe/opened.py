"""The bodies of a probe, opened one after another over the same images."""

from typing import Any, NamedTuple

from jaxft.config import load
from jaxft.config.resolve import resolved
from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.devices import sharding
from jaxft.features.inference import make_forward
from jaxft.materials import reading
from jaxft.materials.materials import Materials
from jaxft.materials.model import Opened
from jaxft.models.weights import pretrained
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.runtime.folders import cache_directory


class How(NamedTuple):
    """All that the images in memory depend on; bodies that agree in it share them."""

    image_size: int
    interpolation: str
    fit: str


def how(settings: Settings) -> How:
    """Return the size at which a run ends, the filter that the weights expect, and the fit."""
    data = settings.data
    return How(settings.phases[-1].image_size, data.interpolation, data.fit)


def resolved_settings(plain: dict[str, Any]) -> Settings:
    """Return the settings of a body, for which its weights may be asked.

    Raises:
      UserError: they cannot be.
    """
    return load.from_dict(resolved(plain))


def materials_of(
    settings: Settings,
    opened: Opened,
    dataset: Dataset,
    before: Materials | None,
    console: Console,
    stop: Stop,
) -> Materials:
    """Return the materials of a body; the images are those of `before` where they are the same.

    Raises:
      UserError: unreadable images.
      Interrupted: a stop was requested.
    """
    mesh, size = sharding.data_mesh(), how(settings).image_size
    forward = make_forward(opened.model, settings.augment, size, mesh, settings.deterministic)
    if told := pretrained.in_words(opened.origin):
        console.say(told)
    if before is not None and how(before.settings) == how(settings):
        return before._replace(
            settings=settings, model=opened.model, forward=forward, origin=opened.origin
        )
    for images in (before.train_images, before.valid_images) if before else ():
        images.forget()
    cache = cache_directory(settings.cache_dir)
    dataset, train, valid = reading.read_images(settings, size, dataset, console, cache, stop)
    return Materials(
        settings,
        size,
        mesh,
        opened.model,
        forward,
        dataset,
        train,
        valid,
        cache,
        console,
        stop,
        opened.origin,
    )
