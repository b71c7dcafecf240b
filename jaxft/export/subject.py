"""The model of a run as an exporter sees it."""

from typing import NamedTuple

from jaxft.config.settings import Settings
from jaxft.data.images.sizing import canvas_size
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.materials.model import create_model
from jaxft.models.model import Model
from jaxft.models.variables import Weights
from jaxft.runtime.paths import AnyPath


class Subject(NamedTuple):
    """A run's model and weights (on the host), its classes and settings."""

    settings: Settings
    classes: tuple[str, ...]
    model: Model
    weights: Weights

    @property
    def image_size(self) -> int:
        """Pixels of the network's input, as in the last phase."""
        return self.settings.phases[-1].image_size

    @property
    def canvas(self) -> int:
        """Pixels of the square that a file is shrunk to; the network's input is its view."""
        return canvas_size(self.image_size)


def of_run(workdir: str | AnyPath, which: str = "best") -> Subject:
    """Return the model of a run.

    Args:
      workdir: of the run.
      which: `best` or `last` weights.

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    settings, classes, expected = read_workdir(workdir)
    weights = read_weights(workdir, which)
    return Subject(settings, classes, create_model(settings, len(classes), expected), weights)
