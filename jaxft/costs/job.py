"""Job of a bench: a config, and the programs to time."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from jaxft.config.phase import Phase
from jaxft.config.settings import Settings
from jaxft.costs.call import Call
from jaxft.costs.sizes import Sizes
from jaxft.devices.topology import Target
from jaxft.materials import reading
from jaxft.materials.materials import Materials
from jaxft.models.model import Model
from jaxft.models.variables import Weights
from jaxft.runtime.console import Console

# Repeats that do not count: more than the batches read ahead (feed.AHEAD, and as many that are yet
# to be placed) before the input has to keep up.
WARM_UP = 5


@dataclass(frozen=True)
class Job:
    """A config to bench, on images of `image_size` pixels.

    `materials` are a run's own, for its real input; without them input is made up. `weights` hold
    all groups, on the mesh.
    """

    settings: Settings
    image_size: int
    sizes: Sizes
    target: Target
    model: Model
    weights: Weights
    repeats: int
    console: Console
    materials: Materials | None = None

    @property
    def mesh(self) -> Mesh:
        """All devices."""
        return self.target.mesh

    def at_size(self, image_size: int) -> "Job":
        """Return the job on images of this size in pixels, without materials of another size."""
        materials = self.materials and reading.at_size(self.materials, image_size)
        return dataclasses.replace(self, image_size=image_size, materials=materials)


@dataclass(frozen=True)
class Program:
    """A program to time, and the ways to make, feed and drive it.

    `phase` is the first of the `phases` that run it, None where none does. `call(steps)` is the
    program of `steps` steps. `start(compiled)` gives a function that executes it on an item of
    `feed` and returns something to wait for. `reads`: its input is images. `neutral(mesh, share)`
    is one step on `share` images, for `model_flops`. `passes` are the turns of the loop that a step
    may be in, which XLA counts once (costs.of_compiled).
    """

    name: str
    phases: tuple[str, ...]
    phase: Phase | None
    steps: int
    reads: bool
    call: Callable[[int], Call]
    start: Callable[[Any], Callable[[Any], Any]]
    feed: Callable[[], AbstractContextManager[Iterator[Any]]]
    neutral: Callable[[Mesh, int], Call]
    passes: int = 1
