"""Materials that all phases share."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxft.config.settings import Settings
from jaxft.data import Dataset, order
from jaxft.data.images.memory import Images
from jaxft.devices import sharding
from jaxft.errors import Interrupted
from jaxft.features.forward import Forward
from jaxft.models.model import Model
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath

NEVER = Stop()


class Materials(NamedTuple):
    """Things that phases with images of one size share and do not change; see `at_size`.

    `image_size`, in pixels, is that of the current phase. `stop` is set from outside, to end the
    run.
    """

    settings: Settings
    image_size: int
    mesh: Mesh
    model: Model
    forward: Forward
    dataset: Dataset
    train_images: Images
    valid_images: Images
    cache_dir: AnyPath
    console: Console
    stop: Stop = NEVER
    origin: Mapping[str, Any] = {}  # of the initial weights, for weights.json
    listed: Mapping[str, Any] = {}  # the data before unreadable images were left out, for data.json

    def demand_going_on(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.stop.is_set():
            raise Interrupted

    def seed(self) -> Int[Array, ""]:
        """Return the seed that the run draws by, on the mesh."""
        drawn: Array = sharding.replicate(np.int32(self.settings.seed), self.mesh)
        return drawn

    @property
    def steps_per_epoch(self) -> int:
        """Whole training batches in an epoch."""
        return order.steps_per_epoch(len(self.dataset.train), self.settings.data.batch_size)
