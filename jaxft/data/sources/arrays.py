"""Examples whose pixels lie in one array, such as scikit-learn's digits or MNIST's."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Int, UInt8

from jaxft.data import Split
from jaxft.data.images.resize import resize
from jaxft.data.images.sizing import OWN_SIZE, Sizing


def array_split(
    name: str,
    pixels: UInt8[np.ndarray, "examples height width *channels"],
    labels: Int[np.ndarray, " examples"],
    identity: Sequence[str] | None = None,
) -> Split:
    """A split over gray [N,H,W] or RGB [N,H,W,3] pixels; examples are called "NAME/17".

    `identity`: content identity of each example; None: its name.
    """
    names = tuple(f"{name}/{index}" for index in range(len(pixels)))
    return Split(names, labels.astype(np.int32), tuple(identity or names), partial(_read, pixels))


def _read(
    pixels: np.ndarray, index: int, sizing: Sizing = OWN_SIZE, share: float | None = None
) -> np.ndarray:
    image = pixels[index]
    rgb = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    return resize(rgb, sizing, share)
