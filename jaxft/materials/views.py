"""The cached views of images: which there are, where their features lie, and the steps on them.

View 0 is the evaluation view, the others are augmented. Each is an entry of the feature cache by
itself, so that more views cost only those that are not there yet.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxft.data.order import crop_shares
from jaxft.devices import sharding
from jaxft.features import cache
from jaxft.features.cache import Part
from jaxft.features.inference import View
from jaxft.materials import extraction
from jaxft.materials.materials import Materials
from jaxft.models.variables import Weights

PHASE = 2**31 - 2  # the place in the keys of views that belong to no phase; evaluate.py has another


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
    """The features of one view out of `of`, from the cache where it has them.

    What there is of it is a function of the settings, the examples and the number alone.
    """
    settings = materials.settings
    split = getattr(materials.dataset, which)
    images = materials.train_images if which == "train" else materials.valid_images
    what = f"features of {which}" + (f", view {number + 1} of {of}" if of > 1 else "")
    digest = cache.weights_digest(*sharding.fetch(weights))
    view = View(settings.data.views_seed, PHASE, number) if number else None
    compute = partial(
        extraction.extract_parts,
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
        "image_size": settings.data.image_size,
        "interpolation": settings.data.interpolation,
    }
    if number == 0:
        return plain
    drawn = {"number": number, "seed": settings.data.views_seed, **asdict(settings.augment)}
    return {**plain, "view": drawn}
