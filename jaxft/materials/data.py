"""The data set of a config."""

from jaxft.config.settings import Settings
from jaxft.data import Dataset
from jaxft.data.sources import registry


def open_data(settings: Settings) -> Dataset:
    """Open the data set of a config, labels only."""
    data = settings.data
    return registry.open_dataset(
        data.source,
        valid_fraction=data.valid_fraction,
        split_seed=data.split_seed,
        folds=data.folds,
        fold=data.fold,
    )
