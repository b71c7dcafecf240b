"""Extraction of the body's features from a split's images."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from jaxft.data import Batch
from jaxft.data.batches import eval_batches
from jaxft.data.feed import Feed
from jaxft.data.images.memory import Images
from jaxft.data.images.sizing import canvas_size
from jaxft.data.slots import Slots
from jaxft.features import inference
from jaxft.features.inference import View
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts
from jaxft.runtime.ballot import Ballot


def extract(
    materials: Materials,
    weights: Weights,
    images: Images,
    what: str,
    view: View | None = None,
) -> Float[np.ndarray, "examples features"]:
    """The body's features of all images, in order, computed now."""
    return np.concatenate(list(extract_parts(materials, weights, images, what, view)))


def extract_parts(
    materials: Materials,
    weights: Weights,
    images: Images,
    what: str,
    view: View | None = None,
    *,
    first: int = 0,
    shares: np.ndarray | None = None,
    part_examples: int | None = None,
) -> Iterator[Float[np.ndarray, "examples features"]]:
    """As `extract`, of the images from `first` on, in parts of `part_examples` (whole batches).

    `shares` as for eval_batches.
    """
    ballot = Ballot(materials.stop)
    part_batches = part_examples and part_examples // materials.settings.data.batch_size
    with (
        materials.console.bar(len(images), what, done=first) as bar,
        eval_feed(materials, images, first, shares) as ready,
    ):

        def counted(source: Iterable[Batch]) -> Iterator[Batch]:
            for batch in source:
                if ballot():
                    materials.demand_going_on()
                yield batch
                bar.update(int(batch.mask.sum()) * hosts.count())

        yield from inference.extract_parts(
            materials.forward, weights, counted(ready), materials.mesh, view, part_batches
        )


def eval_feed(
    materials: Materials,
    images: Images,
    first: int = 0,
    shares: np.ndarray | None = None,
) -> Feed[Batch]:
    """All images from `first` on, in order, read ahead; of each process its share."""
    data = materials.settings.data
    return eval_batches(
        images,
        images.split.labels,
        slots=Slots(data.batch_size, hosts.index(), hosts.count()),
        canvas=canvas_size(data.image_size),
        first=first,
        shares=shares,
        threads=data.threads,
    )
