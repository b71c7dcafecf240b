"""The folder card's head phases alone, or its last one: `--config=bench/ground/parts.py:body`.

A grid of the body's rates then trains the head once a task and seed, and begins with its weights.
`gradual` is the body's phase after one epoch of its later half (Howard and Ruder, 2018).
"""

from ml_collections import ConfigDict

from jaxft.configs import base, folder


def get_config(part: str) -> ConfigDict:
    """The card with the phases of `head`, of `body` or of `gradual`.

    Raises:
      KeyError: another part.
    """
    config = folder.get_config()
    *head, body = config.phases
    late = base.phase(
        name="late",
        groups={"late": body.groups.late, "head": body.groups.head},
        lr="find",
        schedule="one_cycle",
    )
    config.phases = {"head": tuple(head), "body": (body,), "gradual": (late, body)}[part]
    return config
