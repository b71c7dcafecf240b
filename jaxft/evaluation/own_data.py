"""The data that a run was trained on, opened again."""

from collections.abc import Sequence

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.errors import UserError
from jaxft.materials.data import open_data
from jaxft.materials.identity import check_listed, describe_data
from jaxft.runtime import paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath


def open_own(
    settings: Settings, workdir: str | AnyPath, classes: Sequence[str], console: Console
) -> Dataset:
    """Open a run's own data; warn where they are no longer those it began with.

    Raises:
      UserError: they have other classes.
    """
    dataset = open_data(settings)
    check_classes(dataset, classes)
    try:
        check_listed(paths.of(workdir), describe_data(dataset))
    except UserError as error:
        console.say(f"warning: {error}")
    return dataset


def check_classes(dataset: Dataset, classes: Sequence[str]) -> None:
    """Raise UserError if the data's classes differ from a run's."""
    if dataset.classes != tuple(classes):
        raise UserError(
            "The data's classes differ from the run's:",
            [f"only in the run: {c}" for c in classes if c not in dataset.classes]
            + [f"only in the data: {c}" for c in dataset.classes if c not in classes],
        )
