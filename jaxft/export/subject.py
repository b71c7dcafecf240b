"""The model of a run as an exporter sees it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxft.config.settings import Settings
from jaxft.data.images.sizing import canvas_size
from jaxft.models.model import Model
from jaxft.models.variables import Weights


class Subject(NamedTuple):
    """A run's model and weights (on the host), its classes and settings.

    Settings and model compute in float32, whatever the run did; the model's convolutions in several
    groups are XLA's own. `origin` is what weights.json says of the weights that the run began with.
    """

    settings: Settings
    classes: tuple[str, ...]
    model: Model
    weights: Weights
    origin: Mapping[str, Any]

    @property
    def image_size(self) -> int:
        """Pixels of the network's input, as in the last phase."""
        return self.settings.phases[-1].image_size

    @property
    def fit(self) -> str:
        """Treatment of an image that is no square: crop, squash or pad."""
        return self.settings.data.fit

    @property
    def canvas(self) -> int:
        """Pixels of the square that a file is shrunk to; the network's input is its view."""
        return canvas_size(self.image_size)
