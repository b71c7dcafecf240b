"""Erasing: a rectangle of a view takes one colour."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxft.augment import rectangle
from jaxft.augment.draws import Parameters


def erase(
    image: Float[Array, "batch size size 3"], parameters: Parameters
) -> Float[Array, "batch size size 3"]:
    """Fill the drawn rectangle with the view's own mean colour (Zhong 2017).

    torchvision and timm fill with the mean over the data set, which is the least of signals to a
    network. The view's own mean is that too, and needs no knowledge of the data.
    """
    *_, left, top, width, height = parameters
    gone = rectangle.inside(left, top, width, height, image.shape[1])
    return jnp.where(gone[..., None], image.mean((1, 2), keepdims=True), image)
