"""Random numbers of every example's view: an angle, a zoom, a crop, and so on, by its key."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxft.augment import rectangle
from jaxft.augment.augmentation import Augmentation
from jaxft.augment.streams import Stream


class Parameters(NamedTuple):
    """Draws for each example of a batch.

    `radians` counter-clockwise; `zoom` >= 1; `crop_width`, `crop_height` as shares of the canvas;
    `offset_x`, `offset_y` in -0.5..0.5 of the room that zoom and crop leave; `perspective_x`,
    `perspective_y`: shares by which the left and the upper edge become longer;
    `quarter_turns` 0..3; `flip` -1 or 1; `brightness` is added; `contrast` multiplies the
    distance from the mean (from 0, of logits); `erase_...`: a rectangle in shares of the view, of
    width 0 where nothing is erased.
    """

    radians: Float[Array, " batch"]
    zoom: Float[Array, " batch"]
    offset_x: Float[Array, " batch"]
    offset_y: Float[Array, " batch"]
    quarter_turns: Int[Array, " batch"]
    flip: Float[Array, " batch"]
    brightness: Float[Array, " batch"]
    contrast: Float[Array, " batch"]
    crop_width: Float[Array, " batch"]
    crop_height: Float[Array, " batch"]
    perspective_x: Float[Array, " batch"]
    perspective_y: Float[Array, " batch"]
    erase_left: Float[Array, " batch"]
    erase_top: Float[Array, " batch"]
    erase_width: Float[Array, " batch"]
    erase_height: Float[Array, " batch"]


def draw(keys: Key[Array, " batch"], settings: Augmentation) -> Parameters:
    """Draw every example's parameters.

    Each uses the same random numbers whatever the settings, so that switching one kind of variation
    off leaves the others as they were.
    """
    uniform = _uniform(keys, 10)
    signed = 2 * uniform - 1
    rotated = uniform[0] < settings.rotate_probability
    zoomed = uniform[2] < settings.zoom_probability
    mirrored = (settings.flip or settings.dihedral) & (uniform[6] < 0.5)
    turns = jnp.floor(uniform[7] * 4).astype(jnp.int32) * settings.dihedral
    brightness, contrast = _draw_light(keys, signed[8], signed[9], settings)
    crop_width, crop_height = _draw_crop(keys, settings)
    perspective_x, perspective_y = _draw_perspective(keys, settings)
    left, top, width, height = _draw_erase(keys, settings)
    return Parameters(
        radians=jnp.where(rotated, signed[1] * math.radians(settings.rotate_degrees), 0.0),
        zoom=jnp.where(zoomed, 1 + uniform[3] * (settings.max_zoom - 1), 1.0),
        offset_x=uniform[4] - 0.5,
        offset_y=uniform[5] - 0.5,
        quarter_turns=turns,
        flip=jnp.where(mirrored, -1.0, 1.0).astype(jnp.float32),
        brightness=brightness,
        contrast=contrast,
        crop_width=crop_width,
        crop_height=crop_height,
        perspective_x=perspective_x,
        perspective_y=perspective_y,
        erase_left=left,
        erase_top=top,
        erase_width=width,
        erase_height=height,
    )


def _uniform(keys: Key[Array, " batch"], count: int) -> Float[Array, "count batch"]:
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(keys).T
    # In float64 where that is enabled, up to the pixels: how float32 rounds depends on how many
    # examples a device holds.
    return uniform.astype(float)


def _stream(keys: Key[Array, " batch"], stream: Stream, count: int) -> Float[Array, "count batch"]:
    return _uniform(jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys), count)


def _draw_light(
    keys: Key[Array, " batch"], bright: Array, contrasting: Array, settings: Augmentation
) -> tuple[Array, Array]:
    """Offsets of brightness and factors of contrast, from numbers in -1..1."""
    if settings.lighting == "logit":
        # A pixel of 0.5 becomes 0.5 (1 + t): log((0.5 + t/2) / (0.5 - t/2)) = 2 atanh(t).
        added = 2 * jnp.arctanh(bright * settings.brightness)
        factor = jnp.exp(contrasting * -math.log(1 - settings.contrast))
    else:
        added, change = bright * settings.brightness, contrasting * settings.contrast
        factor = jnp.where(change < 0, 1 / (1 - change), 1 + change)
    if settings.lighting_probability == 1:
        return added, factor
    lit = _stream(keys, Stream.LIGHT, 2) < settings.lighting_probability
    return jnp.where(lit[0], added, 0.0), jnp.where(lit[1], factor, 1.0)


def _draw_crop(keys: Key[Array, " batch"], settings: Augmentation) -> tuple[Array, Array]:
    """Width and height of the part that is shown, as shares of the canvas."""
    whole = jnp.ones(keys.shape[0], float)
    if settings.crop_min_area == 1:
        return whole, whole
    uniform = _stream(keys, Stream.CROP, 2 * rectangle.ATTEMPTS)
    width, height = rectangle.sides(uniform, (settings.crop_min_area, 1), settings.crop_max_ratio)
    return jnp.where(width > 0, width, whole), jnp.where(height > 0, height, whole)


def _draw_perspective(keys: Key[Array, " batch"], settings: Augmentation) -> tuple[Array, Array]:
    if not settings.perspective:
        return (jnp.zeros(keys.shape[0], float),) * 2
    uniform = _stream(keys, Stream.PERSPECTIVE, 4)
    turned = uniform[:2] < settings.perspective_probability
    x, y = jnp.where(turned, (2 * uniform[2:] - 1) * settings.perspective, 0.0)
    return x, y


def _draw_erase(keys: Key[Array, " batch"], settings: Augmentation) -> tuple[Array, ...]:
    """Left, top, width and height of a rectangle, in shares of the view."""
    if not settings.erase_probability:
        return (jnp.zeros(keys.shape[0], float),) * 4
    uniform = _stream(keys, Stream.ERASE, 3 + 2 * rectangle.ATTEMPTS)
    areas = settings.erase_min_area, settings.erase_max_area
    width, height = rectangle.sides(uniform[3:], areas, settings.erase_max_ratio)
    width = jnp.where(uniform[0] < settings.erase_probability, width, 0.0)
    return uniform[1] * (1 - width), uniform[2] * (1 - height), width, height
