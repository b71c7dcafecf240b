"""The folder card's head phases alone, or its last one: `--config=bench/ground/parts.py:body`.

A grid of the body's rates then trains the head once a task and seed, and begins with its weights.
"""

from ml_collections import ConfigDict

from jaxft.configs import folder


def get_config(part: str) -> ConfigDict:
    """The card with the phases of `head` or of `body`.

    Raises:
      KeyError: another part.
    """
    config = folder.get_config()
    config.phases = {"head": config.phases[:-1], "body": config.phases[-1:]}[part]
    return config
