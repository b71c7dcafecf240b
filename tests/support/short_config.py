"""Two phases and all that a run writes, in as few steps as can be: `short_config.py:FOLDER`."""

import tiny_config

from jaxft.configs import base


def get_config(folder):
    config = tiny_config.get_config(folder)
    config.phases = (
        base.phase(name="head", inputs="cached", lr="find", epochs=1),
        base.phase(name="full", groups={"early": 0.1, "late": 0.3, "head": 1.0}, lr=0.01),
    )
    return config
