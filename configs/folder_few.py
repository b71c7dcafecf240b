"""A folder of less than a thousand photos, classes in sub-folders, with EfficientNet-Lite0.

Data: as for the card `folder`.
Expected: see bench/README.md, "Few images", which sets it beside the card `folder`.
Command: jaxft train --config=folder_few --config.data.source=folder:PATH --workdir=DIR
"""

from ml_collections import ConfigDict

from jaxft.configs import folder


def get_config() -> ConfigDict:
    """The card `folder` with cycles twice as long: few images make few steps an epoch."""
    config = folder.get_config()
    full = config.phases[-1]
    full.cycle_epochs = full.warmup_epochs = 2
    return config
