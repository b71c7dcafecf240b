"""A folder of ten thousand photos or more, classes in sub-folders, with EfficientNet-Lite0.

Data: as for the card `folder`.
Expected: see bench/README.md, "Fashion-MNIST"; that card has these phases, for 54,000 images.
Command: jaxft train --config=folder_many --config.data.source=folder:PATH --workdir=DIR
"""

from ml_collections import ConfigDict

from jaxft.configs import base


def get_config() -> ConfigDict:
    """The recipe with one short cycle of the head, and one long cycle of everything."""
    config = base.get_config()
    config.data.batch_size = 64
    config.optimizer.name = "adamw"
    config.data.source = "folder:photos"
    config.phases = (
        base.phase(name="head_cached", inputs="cached", lr="find", epochs=2),
        base.phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=1, cycle_epochs=1),
        base.phase(
            name="full",
            groups={"early": 1 / 3, "late": 1 / 2, "head": 1.0},
            lr="find",
            schedule="one_cycle",
            epochs=5,
        ),
    )
    return config
