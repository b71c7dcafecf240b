"""The body's features of a split's images: extracted now, or from the cache.

View 0 is the evaluation view, the others are augmented. Each is an entry of the cache, so only
views that are missing cost anything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft.data import Batch
from jaxft.data.batches import eval_batches
from jaxft.data.feed import Feed
from jaxft.data.images.memory import Images
from jaxft.data.images.sizing import canvas_size
from jaxft.data.order import crop_shares
from jaxft.data.slots import Slots
from jaxft.devices import sharding
from jaxft.features import cache, inference
from jaxft.features.cache import Part
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

    `shares` as for eval_batches. If a stop is requested, the last part is what there is by then.

    Raises:
      Interrupted: a stop was requested, once that part has been taken.
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
                    return
                yield batch
                bar.update(int(batch.mask.sum()) * hosts.count())

        yield from inference.extract_parts(
            materials.forward, weights, counted(ready), materials.mesh, view, part_batches
        )
    materials.demand_going_on()


def eval_feed(
    materials: Materials,
    images: Images,
    first: int = 0,
    shares: np.ndarray | None = None,
) -> Feed[Batch]:
    """All images from `first` on, in order, read ahead; each process gets its share."""
    data = materials.settings.data
    return eval_batches(
        images,
        images.split.labels,
        slots=Slots(data.batch_size, hosts.index(), hosts.count()),
        canvas=canvas_size(materials.image_size),
        first=first,
        shares=shares,
        threads=data.threads,
    )


PHASE = 2**31 - 2  # the place in the keys of views that belong to no phase; tta.py has another


def body_features(
    materials: Materials, weights: Weights, which: str
) -> Float[np.ndarray, "examples features"]:
    """The body's features of a split (`train`, `valid`) by the evaluation view."""
    return cache.whole(view_features(materials, weights, which, 0))


def view_features(
    materials: Materials,
    weights: Weights,
    which: str,
    number: int,
    of: int = 1,
    mapped: bool = False,
) -> list[Part]:
    """The features of one view out of `of`, from the cache if it has them.

    They depend on the settings, the examples, the weights and the number alone.
    """
    settings = materials.settings
    split = getattr(materials.dataset, which)
    images = materials.train_images if which == "train" else materials.valid_images
    what = f"features of {which}" + (f", view {number + 1} of {of}" if of > 1 else "")
    digest = cache.weights_digest(*sharding.fetch(weights))
    view = View(settings.data.views_seed, PHASE, number) if number else None
    compute = partial(
        extract_parts,
        materials,
        weights,
        images,
        what,
        view,
        shares=crop_shares(*view, len(split)) if view else None,
        part_examples=cache.part_examples(len(split), settings.data.batch_size),
    )
    parts, found = cache.cached(
        materials.cache_dir / "features",
        cache.key(split, digest, describe(materials, number)),
        len(split),
        lambda first: compute(first=first),
        mapped,
    )
    if found:
        rest = "" if found == len(split) else f" of {len(split)}"
        materials.console.say(f"{what}: {found}{rest} from the cache")
    return parts


def describe(materials: Materials, number: int) -> dict[str, Any]:
    """Settings that a view's numbers depend on besides weights and examples, as JSON data."""
    settings = materials.settings
    plain = {
        "model": settings.model.name,
        "dtype": settings.model.compute_dtype,
        "pooling": settings.model.pooling,
        "mean": materials.model.preprocessing.mean,
        "std": materials.model.preprocessing.std,
        "image_size": materials.image_size,
        "interpolation": settings.data.interpolation,
    }
    if settings.data.fit != "crop":  # so that entries from before this key still count
        plain["fit"] = settings.data.fit
    if number == 0:
        return plain
    drawn = {"number": number, "seed": settings.data.views_seed, **asdict(settings.augment)}
    return {**plain, "view": drawn}
