"""The body's features of a split's images."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from jaxft.data import Batch, Split, batches
from jaxft.data.feed import Feed
from jaxft.data.images.memory import Images
from jaxft.features import inference
from jaxft.features.inference import View
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights
from jaxft.runtime import hosts
from jaxft.runtime.ballot import Ballot


def extract(
    materials: Materials,
    weights: Weights,
    split: Split,
    images: Images,
    what: str,
    view: View | None = None,
) -> Float[np.ndarray, "examples features"]:
    """The body's features of every example of a split, computed now."""
    return np.concatenate(list(extract_parts(materials, weights, split, images, what, view)))


def extract_parts(
    materials: Materials,
    weights: Weights,
    split: Split,
    images: Images,
    what: str,
    view: View | None = None,
    *,
    first: int = 0,
    shares: np.ndarray | None = None,
    part_examples: int | None = None,
) -> Iterator[Float[np.ndarray, "examples features"]]:
    """As `extract`, of the examples from `first` on, in parts of so many (of whole batches).

    `shares` as for batches.eval_batches.
    """
    ballot = Ballot(materials.stop)
    part_batches = part_examples and part_examples // materials.settings.data.batch_size
    with (
        materials.console.bar(len(split), what, done=first) as bar,
        eval_feed(materials, split, images, first, shares) as ready,
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
    split: Split,
    images: Images,
    first: int = 0,
    shares: np.ndarray | None = None,
) -> Feed[Batch]:
    """Every example of a split from `first` on, in order, read ahead; of each process its share."""
    data = materials.settings.data
    return batches.eval_batches(
        images,
        split.labels,
        batch_size=data.batch_size,
        canvas=batches.canvas_size(data.image_size),
        first=first,
        shares=shares,
        host_index=hosts.index(),
        host_count=hosts.count(),
        threads=data.threads,
    )
