"""Augmentation on the device: random geometry, lighting and erasing, keyed by example.

The pixels of an example depend on its canvas and its key alone, never on its batch or device. The
stages: `draw` (keys -> parameters), `warp` (all geometry as one bilinear sampling, lowered by
platform), `light_views`, `recolour` and `erase`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from jaxft.augment import policy
from jaxft.augment.augmentation import Augmentation
from jaxft.augment.draws import draw
from jaxft.augment.erasing import erase
from jaxft.augment.geometry import limits, maps_of
from jaxft.augment.lighting import light_views
from jaxft.augment.policy_maps import policy_limits, with_policy
from jaxft.augment.recolour import recolour
from jaxft.augment.warp import warp


def augment(
    canvas: UInt8[Array, "batch side side 3"],
    keys: Key[Array, " batch"],
    settings: Augmentation,
    image_size: int,
) -> Float[Array, "batch size size 3"]:
    """Draw a random view of every canvas, in 0..1, decided by its own key."""
    parameters = draw(keys, settings)
    maps = maps_of(parameters, settings, canvas.shape[1], image_size)
    if settings.policy == "none":
        chosen, bounds = None, limits(settings)
    else:
        chosen, bounds = policy.draw(keys, settings), policy_limits(settings)
        maps = with_policy(maps, chosen, image_size)
    view = warp(canvas, maps, image_size, bounds)
    if settings.lighting_probability and (settings.brightness or settings.contrast):
        view = light_views(view, parameters, settings.lighting)
    if chosen:
        view = recolour(view, chosen)
    if settings.erase_probability:
        view = erase(view, parameters)
    return view.astype(jnp.float32)
