"""Geometry of a policy's operations: part of the view's one map, and the bounds of that."""

import itertools
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxft.augment.augmentation import Augmentation
from jaxft.augment.maps import Limits
from jaxft.augment.policy import GEOMETRIC, SIGNED, Chosen, Operation, bins, table


def with_policy(
    maps: Float[Array, "batch 2 3"], chosen: Chosen, image_size: int
) -> Float[Array, "batch 2 3"]:
    """Let maps from view to canvas do the policy's geometry as well.

    The operations act upon the view that the maps made without them, the first one first. Their
    places of a pixel are those of Pillow's AFFINE; what they uncover is reflected, as always.
    """
    for operation, magnitude in zip(chosen.operation, chosen.magnitude, strict=True):
        moved = matrices(operation, magnitude)
        maps = after(maps, jnp.concatenate([moved[..., :2], moved[..., 2:] * image_size], -1))
    return maps


def matrices(operation: Any, magnitude: Any, numbers: ModuleType = jnp) -> Any:
    """Maps [..., 2, 3] from an operation's image to the one before, (x, y) from the centre.

    Shifts are in sides of the image. `numbers`: jax.numpy or NumPy, for arrays of its own.
    """

    def of(name: Operation) -> Any:
        return numbers.where(operation == name, magnitude, 0)

    across, down = of(Operation.SHEAR_X), of(Operation.SHEAR_Y)
    angle = of(Operation.ROTATE) * (np.pi / 180)
    cos, sin = numbers.cos(angle), numbers.sin(angle)
    # Shears leave the upper (the left) edge where it is: half a side from the centre.
    rows = (
        (cos, across - sin, across / 2 + of(Operation.TRANSLATE_X)),
        (down + sin, cos, down / 2 + of(Operation.TRANSLATE_Y)),
    )
    return numbers.stack([numbers.stack(row, -1) for row in rows], -2)


def after(outer: Any, inner: Any) -> Any:
    """Compose affine maps [..., 2, 3]: `outer` of what `inner` gives."""
    linear = (outer[..., :, :2, None] * inner[..., None, :, :]).sum(-2)
    return linear + outer[..., 2:] * np.array([0.0, 0.0, 1.0], np.float32)


def policy_limits(settings: Augmentation) -> Limits:
    """Return the bounds of all maps that a policy can draw, by going through all of them."""
    moved = _every_map(settings)
    shortest = 1.0 if settings.crop_min_area == 1 else 1 / settings.crop_max_ratio
    corners = np.array([(u, v, 1.0) for u in (-1, 1) for v in (-1, 1)]).T  # in half sides
    halves = moved * np.array([1.0, 1.0, 2.0])
    # A crop's places lie between these and the canvas's own corners.
    reach = max(np.abs(halves @ corners).max(), 1.0)
    slope, turned = 0.0, settings.dihedral
    for width, height in ((1.0, 1.0), (shortest, 1.0), (1.0, shortest)):
        x, y = halves[:, 0] * width, halves[:, 1] * height
        flat = (np.abs(x[:, 1]) > np.abs(y[:, 1]))[:, None]
        turned |= bool(flat.any())
        # As `steep` exchanges them, and for a quarter turn, which moves no bound.
        along, steeper = np.where(flat, y, x), np.where(flat, x, y)
        slope = max(slope, np.abs(along[:, 1] / steeper[:, 1]).max(), np.abs(steeper[:, 0]).max())
        # Where a column of the view crosses the row of the view's middle.
        size = np.where(flat[:, 0], height, width)
        crossing = (width * height / np.abs(steeper[:, 1]) + np.abs(along[:, 2])) / size
        reach = max(reach, crossing.max())
    return Limits(False, float(reach - 1) / 2, float(slope), turned)


def _every_map(settings: Augmentation) -> Float[np.ndarray, "maps 2 3"]:
    """Each map that the operations of one example can amount to, shifts in sides."""
    magnitudes = table(settings)[:, bins(settings)]
    single = [(Operation.IDENTITY, 0.0)]
    for name in GEOMETRIC:
        signs = (1, -1) if name in SIGNED else (1,)
        single += [(name, sign * value) for value in magnitudes[name] for sign in signs]
    operation, magnitude = np.array(single).T
    each = matrices(operation, magnitude, np)
    count = 1 if settings.policy == "trivialaugment" else settings.policy_ops
    found = each
    for _ in range(count - 1):
        found = np.array([after(first, then) for first, then in itertools.product(found, each)])
    return np.unique(found.round(12), axis=0)
