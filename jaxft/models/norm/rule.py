"""Static settings of a normalisation."""

from typing import NamedTuple


class Rule(NamedTuple):
    """Static settings of a normalisation.

    `eps` is added to the variance, `activation` (one of RANGES) follows, `axis_name` is the mesh
    axis over which the statistics are shared.
    """

    eps: float
    activation: str
    axis_name: str | None
