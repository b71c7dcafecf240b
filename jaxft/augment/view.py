"""Plain view of a canvas, and input of the network."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxft.augment.maps import UPRIGHT
from jaxft.augment.warp import warp
from jaxft.models.body import Preprocessing


def network_input(
    view: Float[Array, "batch size size 3"], preprocessing: Preprocessing, dtype: Any
) -> Float[Array, "batch size size 3"]:
    """Normalise a view in 0..1 as the weights expect, in the parameters' dtype or wider."""
    mean = tuple(value / 255 for value in preprocessing.mean)
    std = tuple(value / 255 for value in preprocessing.std)
    return normalize(view.astype(jnp.promote_types(view.dtype, dtype)), mean, std)


def evaluate_view(
    canvas: UInt8[Array, "batch side side 3"], image_size: int
) -> Float[Array, "batch size size 3"]:
    """Show the whole canvas (shorter side in full, centre crop) at `image_size`, in 0..1."""
    scale = canvas.shape[1] / image_size
    identity = jnp.asarray([[scale, 0.0, 0.0], [0.0, scale, 0.0]], jnp.float32)
    maps = jnp.broadcast_to(identity, (canvas.shape[0], 2, 3))
    return warp(canvas, maps, image_size, UPRIGHT)


def normalize(
    image: Float[Array, "*batch 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "*batch 3"]:
    """Compute (image - mean) / std by channel; mean and std are on the 0..1 scale."""
    return (image - jnp.asarray(mean, image.dtype)) * (1 / jnp.asarray(std, image.dtype))
