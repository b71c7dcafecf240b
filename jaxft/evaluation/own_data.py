"""The data that a run was trained on, opened again."""

from collections.abc import Sequence
from dataclasses import replace

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources import place
from jaxft.errors import UserError
from jaxft.materials.data import open_data
from jaxft.materials.identity import check_listed, describe_data
from jaxft.runtime import paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_object


def open_own(
    settings: Settings, workdir: str | AnyPath, classes: Sequence[str], console: Console
) -> Dataset:
    """Open a run's own data; warn where they are no longer those it began with.

    A path that is relative counts from this folder, or else from the one that the run began in.

    Raises:
      UserError: they have other classes.
    """
    source = _source(settings, workdir)
    dataset = open_data(replace(settings, data=replace(settings.data, source=source)))
    check_classes(dataset, classes)
    try:
        check_listed(paths.of(workdir), describe_data(_named(dataset, source, settings)))
    except UserError as error:
        console.say(f"warning: {error}")
    return dataset


def _source(settings: Settings, workdir: str | AnyPath) -> str:
    """The config's source; where it leads nowhere, the place that the run found it at."""
    known = (read_object(paths.of(workdir) / "data.json") or {}).get("source")
    if place.is_there(settings.data.source) or not isinstance(known, str):
        return settings.data.source
    return known


def _named(dataset: Dataset, source: str, settings: Settings) -> Dataset:
    """The examples of a source by the names that they have in the config's."""
    train, valid = (
        replace(
            split,
            names=tuple(place.renamed(name, source, settings.data.source) for name in split.names),
        )
        for split in (dataset.train, dataset.valid)
    )
    return replace(dataset, train=train, valid=valid)


def check_classes(dataset: Dataset, classes: Sequence[str]) -> None:
    """Raise UserError if the data's classes differ from a run's."""
    if dataset.classes != tuple(classes):
        raise UserError(
            "The data's classes differ from the run's:",
            [f"only in the run: {c}" for c in classes if c not in dataset.classes]
            + [f"only in the data: {c}" for c in dataset.classes if c not in classes],
        )
