"""Geometry of the views: maps by what was drawn, and the bounds that they keep to."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxft.augment.augmentation import Augmentation
from jaxft.augment.draws import Parameters
from jaxft.augment.maps import UPRIGHT, Limits


def maps_of(
    parameters: Parameters, settings: Augmentation, canvas_size: int, image_size: int
) -> Float[Array, "batch rows 3"]:
    """Maps from view to canvas: homographies where the settings have perspective, else affine."""
    maps = affine(parameters, canvas_size, image_size)
    if not settings.perspective:
        return maps
    turned = perspective(parameters, canvas_size)
    # In full precision: a TPU's or a GPU's default would put pixels 0.2 px off.
    return jnp.matmul(turned, as_homographies(maps), precision=lax.Precision.HIGHEST)


def affine(parameters: Parameters, canvas_size: int, image_size: int) -> Float[Array, "batch 2 3"]:
    """Affine maps from view to canvas, (x, y) in pixels from the centre of each.

    In the order of fastai 0.7: the image is zoomed, rotated, mirrored, and cropped last.
    """
    shown = jnp.stack([parameters.crop_width, parameters.crop_height], -1)
    shown = shown / parameters.zoom[:, None]
    scale = shown * (canvas_size / image_size)
    room = canvas_size * (1 - shown)
    mirror_x, turns = parameters.flip, parameters.quarter_turns
    # Exact for quarter turns, where cos(pi / 2) would not be 0.
    turn_cos = jnp.asarray([1.0, 0.0, -1.0, 0.0], jnp.float32)[turns]
    turn_sin = jnp.asarray([0.0, 1.0, 0.0, -1.0], jnp.float32)[turns]
    cos, sin = jnp.cos(parameters.radians), jnp.sin(parameters.radians)
    cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin
    # Image rows run downwards, so this turns what is seen counter-clockwise.
    rotation = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)
    linear = jnp.stack([rotation[..., 0] * mirror_x[:, None], rotation[..., 1]], -1)
    offset = jnp.stack([parameters.offset_x, parameters.offset_y], -1) * room
    shift = linear[..., 0] * offset[:, :1] + linear[..., 1] * offset[:, 1:]
    return jnp.concatenate([linear * scale[:, None, :], shift[..., None]], -1)


def as_homographies(maps: Float[Array, "batch 2 3"]) -> Float[Array, "batch 3 3"]:
    """Write affine maps as homographies."""
    last = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0], maps.dtype), (maps.shape[0], 1, 3))
    return jnp.concatenate([maps, last], 1)


def perspective(parameters: Parameters, canvas_size: int) -> Float[Array, "batch 3 3"]:
    """Homographies from the turned to the plain canvas, in pixels from the centre.

    With x and y the parameters and the canvas's edges at -1 and 1, the corners move as in
    fastai 2: (-1, -1) to (-1 - y, -1 - x), (1, -1) to (1 + y, -1 + x), (-1, 1) to
    (-1 + y, 1 + x), (1, 1) to (1 - y, 1 - x). This is that homography's inverse, in closed form.
    """
    rows = _tilted(parameters.perspective_x, parameters.perspective_y, canvas_size / 2)
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _tilted(x: Any, y: Any, half: float) -> list[list[Any]]:
    """Rows of `perspective`, for arrays of JAX or NumPy, or numbers."""
    whole = 1 - x**2 - y**2
    tilt_x, tilt_y = -x * (1 - x**2 + y**2) / whole, -y * (1 - y**2 + x**2) / whole
    one, shear = x * 0 + 1, 2 * x * y / whole
    return [
        [one, shear, tilt_x * half],
        [shear, one, tilt_y * half],
        [tilt_x / half, tilt_y / half, one],
    ]


def limits(settings: Augmentation) -> Limits:
    """Return the bounds of all maps that these settings can draw without a policy."""
    rotates = settings.rotate_degrees > 0 and settings.rotate_probability > 0
    if not (rotates or settings.perspective or settings.dihedral):
        return UPRIGHT
    # Beyond 45 degrees x and y change places.
    most = min(settings.rotate_degrees, 45.0) if rotates else 0.0
    shortest = 1.0 if settings.crop_min_area == 1 else 1 / settings.crop_max_ratio
    reach = slope = 0.0
    tilts = (-settings.perspective, 0.0, settings.perspective)
    corners = np.array([(u, v, 1.0) for u in (-1, 1) for v in (-1, 1)]).T
    for angle in np.radians(np.linspace(-most, most, 19)):
        # A column of a flat view crosses the row of the view's middle beyond the view's own edge.
        crossing = 1 / np.cos(angle) + (1 - shortest) * abs(np.sin(angle))
        reach = max(reach, (crossing - 1) / 2)
        turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
        for x, y in itertools.product(tilts, tilts):
            place = np.array(_tilted(x, y, 1.0)) @ np.vstack([turned @ corners, np.ones(4)])
            place = place[:2] / place[2]
            reach = max(reach, (np.abs(place).max() - 1) / 2)
            for column in (place[:, 1] - place[:, 0], place[:, 3] - place[:, 2]):
                slope = max(slope, abs(column[0] / column[1]))
    exchanged = settings.dihedral or (rotates and settings.rotate_degrees > 45)
    return Limits(upright=False, reach=float(reach), slope=float(slope), turned=exchanged)
