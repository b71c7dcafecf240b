"""A config for `jaxft train`: the quickstart's digits, and the head of the cut network alone.

Expected: nothing; it is there to see that a run can be interrupted.
Command: jaxft train --config=bench/pieces/tiny_card.py --workdir=DIR
"""

from ml_collections import ConfigDict

from jaxft.configs import base
from pieces import network
from pieces.setting import CUT


def get_config() -> ConfigDict:
    """Short epochs on cached features, each with its checkpoint."""
    network.register()
    config = base.get_config()
    config.model.name, config.model.weights = CUT, "none"
    config.model.hidden = ()
    config.data.image_size, config.data.batch_size = 32, 64
    config.data.valid_fraction = 0.8  # few to train on
    config.augment.preset = "none"
    config.phases = (base.phase(name="head_cached", inputs="cached", lr=0.01, epochs=8),)
    return config
