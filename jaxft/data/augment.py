"""Augmentation on the device: random geometry and lighting, keyed by example.

The pixels of an example depend on its canvas and its key alone, never on the batch or the
device that it is in. Three stages: `draw` (keys -> parameters), `warp` (all geometry as one
bilinear sampling) and `light`. A platform that wants another lowering replaces `warp` only.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are varied; all zero is the evaluation view.

    The defaults are fastai 0.7's `transforms_side_on` with `max_zoom=1.1`.

    Attributes:
      rotate_degrees: rotation is uniform in +- this, about the centre, reflecting at borders.
      rotate_probability: share of the examples that are rotated.
      max_zoom: zoom is uniform in [1, max_zoom]; the view is then cropped at a random offset.
      zoom_probability: share of the examples that are zoomed.
      brightness: what is added to the pixels (0..1) is uniform in +- this.
      contrast: c is uniform in +- this; the distance from the mean grows by 1 + c, or by
        1 / (1 - c) where c < 0.
      flip: mirror left to right half of the examples.
      dihedral: one of the 8 symmetries of the square (implies flip), for images without an up.
    """

    rotate_degrees: float = 10.0
    rotate_probability: float = 0.75
    max_zoom: float = 1.1
    zoom_probability: float = 0.75
    brightness: float = 0.05
    contrast: float = 0.05
    flip: bool = True
    dihedral: bool = False


PRESETS = {
    "none": Augmentation(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, flip=False),
    "side_on": Augmentation(),
    "top_down": Augmentation(dihedral=True),
}


class Parameters(NamedTuple):
    """What was drawn for each example of a batch.

    `radians` counter-clockwise; `zoom` >= 1; `offset_x`, `offset_y` in -0.5..0.5 of the room
    that the zoom leaves; `quarter_turns` 0..3; `flip` -1 or 1; `brightness` is added;
    `contrast` multiplies the distance from the mean.
    """

    radians: Float[Array, "batch"]
    zoom: Float[Array, "batch"]
    offset_x: Float[Array, "batch"]
    offset_y: Float[Array, "batch"]
    quarter_turns: Int[Array, "batch"]
    flip: Float[Array, "batch"]
    brightness: Float[Array, "batch"]
    contrast: Float[Array, "batch"]


def augment(
    canvas: UInt8[Array, "batch side side 3"],
    keys: Key[Array, "batch"],
    settings: Augmentation,
    image_size: int,
) -> Float[Array, "batch size size 3"]:
    """A random view of every canvas, in 0..1, decided by its own key."""
    parameters = draw(keys, settings)
    view = warp(canvas, affine(parameters, canvas.shape[1], image_size), image_size)
    lit = light(view, parameters.brightness, parameters.contrast)
    return lit.astype(jnp.float32)


def evaluate_view(
    canvas: UInt8[Array, "batch side side 3"], image_size: int
) -> Float[Array, "batch size size 3"]:
    """The whole canvas (shorter side in full, centre crop) at `image_size`, in 0..1."""
    scale = canvas.shape[1] / image_size
    identity = jnp.asarray([[scale, 0.0, 0.0], [0.0, scale, 0.0]], jnp.float32)
    return warp(canvas, jnp.broadcast_to(identity, (canvas.shape[0], 2, 3)), image_size)


def normalize(
    image: Float[Array, "*batch 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "*batch 3"]:
    """(image - mean) / std by channel; mean and std on the 0..1 scale."""
    return (image - jnp.asarray(mean, image.dtype)) * (1 / jnp.asarray(std, image.dtype))


def draw(keys: Key[Array, "batch"], settings: Augmentation) -> Parameters:
    """Draws every example's parameters.

    Each takes the same numbers whatever the settings, so that switching one kind of variation
    off leaves the others as they were.
    """
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (10,), jnp.float32))(keys).T
    # In float64 where that is enabled, up to the pixels: how float32 rounds depends on how many
    # examples a device holds.
    uniform = uniform.astype(float)
    signed = 2 * uniform - 1
    rotated = uniform[0] < settings.rotate_probability
    zoomed = uniform[2] < settings.zoom_probability
    contrast = signed[9] * settings.contrast
    mirrored = (settings.flip or settings.dihedral) & (uniform[6] < 0.5)
    turns = jnp.floor(uniform[7] * 4).astype(jnp.int32) * settings.dihedral
    return Parameters(
        radians=jnp.where(rotated, signed[1] * math.radians(settings.rotate_degrees), 0.0),
        zoom=jnp.where(zoomed, 1 + uniform[3] * (settings.max_zoom - 1), 1.0),
        offset_x=uniform[4] - 0.5,
        offset_y=uniform[5] - 0.5,
        quarter_turns=turns,
        flip=jnp.where(mirrored, -1.0, 1.0).astype(jnp.float32),
        brightness=signed[8] * settings.brightness,
        contrast=jnp.where(contrast < 0, 1 / (1 - contrast), 1 + contrast),
    )


def affine(parameters: Parameters, canvas_size: int, image_size: int) -> Float[Array, "batch 2 3"]:
    """The maps from view to canvas, (x, y) in pixels from the centre of each.

    In the order of fastai 0.7: the image is zoomed, rotated, mirrored, and cropped last.
    """
    scale = canvas_size / (image_size * parameters.zoom)
    room = canvas_size * (1 - 1 / parameters.zoom)
    mirror_x, turns = parameters.flip, parameters.quarter_turns
    # Exact for quarter turns, where cos(pi / 2) would not be 0.
    turn_cos = jnp.asarray([1.0, 0.0, -1.0, 0.0], jnp.float32)[turns]
    turn_sin = jnp.asarray([0.0, 1.0, 0.0, -1.0], jnp.float32)[turns]
    cos, sin = jnp.cos(parameters.radians), jnp.sin(parameters.radians)
    cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin
    # Image rows run downwards, so this turns what is seen counter-clockwise.
    rotation = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)
    linear = jnp.stack([rotation[..., 0] * mirror_x[:, None], rotation[..., 1]], -1)
    offset = jnp.stack([parameters.offset_x * room, parameters.offset_y * room], -1)
    shift = linear[..., 0] * offset[:, :1] + linear[..., 1] * offset[:, 1:]
    return jnp.concatenate([linear * scale[:, None, None], shift[..., None]], -1)


def warp(
    canvas: UInt8[Array, "batch side side 3"],
    maps: Float[Array, "batch 2 3"],
    image_size: int,
) -> Float[Array, "batch size size 3"]:
    """Samples each canvas bilinearly where its map says, reflecting at the borders, in 0..1.

    The three colours travel in one 32-bit word, so that a tap is one gather.
    """
    batch, side = canvas.shape[:2]
    red, green, blue = (canvas[..., channel].astype(jnp.uint32) for channel in range(3))
    words = (red | green << 8 | blue << 16).reshape(batch, side * side)
    centred = jnp.arange(image_size, dtype=jnp.float32) - (image_size - 1) / 2
    x, y = centred[None, None, :], centred[None, :, None]
    a = maps[..., None, None]
    middle = (side - 1) / 2
    left, right_share = _tap(a[:, 0, 0] * x + a[:, 0, 1] * y + a[:, 0, 2] + middle, side)
    top, low_share = _tap(a[:, 1, 0] * x + a[:, 1, 1] * y + a[:, 1, 2] + middle, side)
    corner = top * side + left
    upper = _mix(_take(words, corner), _take(words, corner + 1), right_share)
    lower = _mix(_take(words, corner + side), _take(words, corner + side + 1), right_share)
    rows = (high + (low - high) * low_share for high, low in zip(upper, lower, strict=True))
    return jnp.stack(list(rows), -1) * (1 / 255)


def _tap(
    coordinate: Float[Array, "batch size size"], side: int
) -> tuple[Int[Array, "batch size size"], Float[Array, "batch size size"]]:
    """The pixel before a coordinate and the next one's share, after reflection at the edges.

    The image repeats mirrored with its border pixels doubled (cv2.BORDER_REFLECT, scipy's
    "reflect"). A square turned about its centre reaches out by 0.21 sides at most, so one
    reflection at each edge is enough.
    """
    edge = jnp.abs(coordinate + 0.5)
    inside = jnp.clip(side - jnp.abs(side - edge) - 0.5, 0, side - 1)
    before = jnp.minimum(inside.astype(jnp.int32), side - 2)
    return before, inside - before.astype(inside.dtype)


def _take(words: Array, index: Int[Array, "batch size size"]) -> Array:
    return jax.vmap(lambda row, i: row.at[i].get(mode="promise_in_bounds"))(words, index)


def _mix(first: Array, second: Array, share: Array) -> list[Array]:
    """Each channel of two packed taps, blended."""
    blended = []
    for shift in (0, 8, 16):
        a = ((first >> shift) & 255).astype(jnp.float32)
        b = ((second >> shift) & 255).astype(jnp.float32)
        blended.append(a + (b - a) * share)
    return blended


def light(
    image: Float[Array, "batch size size 3"],
    brightness: Float[Array, "batch"],
    contrast: Float[Array, "batch"],
) -> Float[Array, "batch size size 3"]:
    """(image - mean) * contrast + mean + brightness, clipped to 0..1 (fastai 0.7, `lighting`).

    The mean is one number over an example's pixels and channels.
    """
    mean = image.mean((1, 2, 3), keepdims=True)
    shape = (-1, 1, 1, 1)
    lit = (image - mean) * contrast.reshape(shape) + mean + brightness.reshape(shape)
    # (x - mean) + mean is x only up to rounding, and zero strength shall change nothing.
    untouched = ((brightness == 0) & (contrast == 1)).reshape(shape)
    return jnp.where(untouched, image, jnp.clip(lit, 0, 1))
