"""Augmentation on the device: random geometry, lighting and erasing, keyed by example.

The pixels of an example depend on its canvas and its key alone, never on the batch or the
device that it is in. The stages: `draw` (keys -> parameters), `warp` (all geometry as one
bilinear sampling, lowered by platform), `light` and `erase`.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxft.augment import rectangle
from jaxft.augment.maps import Limits
from jaxft.augment.warp import warp
from jaxft.devices import platform

MOST_PERSPECTIVE = 0.25  # beyond, corners show what lies a side outside the canvas


@dataclass(frozen=True)
class Augmentation:
    """Strengths and kinds of the variation of training images.

    The defaults are fastai 0.7's `transforms_side_on` with `max_zoom=1.1`.

    Attributes:
      preset: whose strengths these are, where the config gives none of its own.
      rotate_degrees: rotation is uniform in +- this, about the centre, reflecting at borders.
      rotate_probability: share of the examples that are rotated.
      max_zoom: zoom is uniform in [1, max_zoom]; the view is then cropped at a random offset.
      zoom_probability: share of the examples that are zoomed.
      perspective: the image's edges grow and shrink by up to this share, as if it were turned
        about its upright and its level axis; each uniform in +- this.
      perspective_probability: share of the examples that are turned, for each axis by itself.
      crop_min_area: the view shows a rectangle of at least this share of the canvas, stretched to
        a square; 1 = no such crop.
      crop_max_ratio: of that rectangle's sides, either way.
      flip: mirror left to right half of the examples.
      dihedral: one of the 8 symmetries of the square (implies flip), for images without an up.
      lighting: pixel = brightness and contrast change the pixels, as in fastai 0.7; logit = the
        logarithm of x / (1 - x) of each pixel x, as in fastai 2.
      brightness: pixel: what is added to the pixels (0..1) is uniform in +- this; logit: a pixel
        of 0.5 becomes one of 0.5 (1 + t), t uniform in +- this.
      contrast: c is uniform in +- this; pixel: the distance from the mean grows by 1 + c, or by
        1 / (1 - c) where c < 0; logit: it is multiplied by up to 1 / (1 - contrast), or divided.
      lighting_probability: share of the examples whose brightness, and whose contrast, changes.
      erase_probability: share of the examples of which a rectangle takes the mean colour.
      erase_min_area, erase_max_area: share of the view that is erased.
      erase_max_ratio: of the erased rectangle's sides, either way.
      mixup_alpha, cutmix_alpha: of the beta distribution of shares (mix.py); 0 = none.
      mix_probability: share of the examples that are mixed.
      label_smoothing: share of the label that is spread evenly over all classes.
    """

    preset: Literal["none", "side_on", "top_down", "fastai2", "imagenet"] = "side_on"
    rotate_degrees: float = 10.0
    rotate_probability: float = 0.75
    max_zoom: float = 1.1
    zoom_probability: float = 0.75
    perspective: float = 0.0
    perspective_probability: float = 0.75
    crop_min_area: float = 1.0
    crop_max_ratio: float = 4 / 3
    flip: bool = True
    dihedral: bool = False
    lighting: Literal["pixel", "logit"] = "pixel"
    brightness: float = 0.05
    contrast: float = 0.05
    lighting_probability: float = 1.0
    erase_probability: float = 0.0
    erase_min_area: float = 0.02
    erase_max_area: float = 0.33
    erase_max_ratio: float = 3.3
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    label_smoothing: float = 0.0

    @property
    def mixes(self) -> bool:
        """True where views are mixed with those of other examples."""
        return self.mix_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that makes no sense."""
        names = [field.name for field in dataclasses.fields(self)]
        shares = ("brightness", "contrast", "crop_min_area", "erase_min_area", "erase_max_area")
        for key in (*(name for name in names if name.endswith("_probability")), *shares):
            if not 0 <= getattr(self, key) <= 1:
                yield f"augment.{key} is {getattr(self, key)}; it should be from 0 to 1"
        for key in ("max_zoom", "crop_max_ratio", "erase_max_ratio"):
            if not getattr(self, key) >= 1:
                yield f"augment.{key} is {getattr(self, key)}; it should be 1 or more"
        for key in ("rotate_degrees", "mixup_alpha", "cutmix_alpha"):
            if getattr(self, key) < 0:
                yield f"augment.{key} is {getattr(self, key)}; it should be 0 or more"
        if not 0 <= self.perspective <= MOST_PERSPECTIVE:
            yield f"augment.perspective should be from 0 to {MOST_PERSPECTIVE}"
        if not self.crop_min_area > 0:
            yield "augment.crop_min_area should be more than 0 (1 = no such crop)"
        if self.erase_min_area > self.erase_max_area:
            yield "augment: erase_min_area should be at most erase_max_area"
        if not 0 <= self.label_smoothing < 1:
            yield "augment.label_smoothing should be at least 0 and less than 1"
        for key in ("brightness", "contrast"):
            if self.lighting == "logit" and getattr(self, key) == 1:
                yield f"augment.{key} should be less than 1 with lighting='logit'"


_NONE = Augmentation(
    preset="none",
    rotate_degrees=0.0,
    rotate_probability=0.0,
    max_zoom=1.0,
    zoom_probability=0.0,
    perspective_probability=0.0,
    flip=False,
    brightness=0.0,
    contrast=0.0,
    lighting_probability=0.0,
)
PRESETS = {
    "none": _NONE,
    "side_on": Augmentation(),
    "top_down": Augmentation(preset="top_down", dihedral=True),
    "fastai2": Augmentation(
        preset="fastai2",
        perspective=0.2,
        lighting="logit",
        brightness=0.2,
        contrast=0.2,
        lighting_probability=0.75,
    ),
    "imagenet": dataclasses.replace(_NONE, preset="imagenet", crop_min_area=0.08, flip=True),
}


@unique
class Stream(IntEnum):
    """Number that an example's key is folded with, so that kinds of variation draw their own."""

    PERSPECTIVE = 1
    CROP = 2
    LIGHT = 3
    ERASE = 4
    MIX = 5


class Parameters(NamedTuple):
    """Draws for each example of a batch.

    `radians` counter-clockwise; `zoom` >= 1; `crop_width`, `crop_height` as shares of the canvas;
    `offset_x`, `offset_y` in -0.5..0.5 of the room that zoom and crop leave; `perspective_x`,
    `perspective_y`: how much longer the left, the upper edge becomes, as a share;
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


UPRIGHT = Limits(upright=True, reach=0.0, slope=0.0, turned=False)


def augment(
    canvas: UInt8[Array, "batch side side 3"],
    keys: Key[Array, " batch"],
    settings: Augmentation,
    image_size: int,
) -> Float[Array, "batch size size 3"]:
    """A random view of every canvas, in 0..1, decided by its own key."""
    parameters = draw(keys, settings)
    maps = affine(parameters, canvas.shape[1], image_size)
    if settings.perspective:
        turned = perspective(parameters, canvas.shape[1])
        # In full precision: a TPU's or a GPU's default would put pixels 0.2 px off.
        maps = jnp.matmul(turned, _square(maps), precision=lax.Precision.HIGHEST)
    view = warp(canvas, maps, image_size, limits(settings))
    if settings.lighting_probability and (settings.brightness or settings.contrast):
        view = _lit(view, parameters, settings.lighting)
    if settings.erase_probability:
        view = erase(view, parameters)
    return view.astype(jnp.float32)


def _lit(view: Array, parameters: Parameters, lighting: Literal["pixel", "logit"]) -> Array:
    """Light a view, on CPU in a branch.

    XLA CPU would make the view twice, for its mean and to light it; its compiler ignores an
    optimization barrier. On a GPU a branch is a program of its own: it costs a pass over memory.
    """
    brightness, contrast = parameters.brightness, parameters.contrast
    if platform.current().name != "cpu":
        return light(view, brightness, contrast, lighting)
    return lax.cond(
        ((brightness != 0) | (contrast != 1)).any(),
        lambda: light(view, brightness, contrast, lighting),
        lambda: view.astype(jnp.promote_types(view.dtype, brightness.dtype)),
    )


def draw(keys: Key[Array, " batch"], settings: Augmentation) -> Parameters:
    """Draws every example's parameters.

    Each takes the same numbers whatever the settings, so that switching one kind of variation
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
    """Width and height of what is shown, as shares of the canvas."""
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


def affine(parameters: Parameters, canvas_size: int, image_size: int) -> Float[Array, "batch 2 3"]:
    """The maps from view to canvas, (x, y) in pixels from the centre of each.

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


def perspective(parameters: Parameters, canvas_size: int) -> Float[Array, "batch 3 3"]:
    """The homographies from the turned to the plain canvas, in pixels from the centre.

    With x and y the parameters and the canvas's edges at -1 and 1, the corners move as in
    fastai 2: (-1, -1) to (-1 - y, -1 - x), (1, -1) to (1 + y, -1 + x), (-1, 1) to
    (-1 + y, 1 + x), (1, 1) to (1 - y, 1 - x). This is that homography's inverse, in closed form.
    """
    rows = _tilted(parameters.perspective_x, parameters.perspective_y, canvas_size / 2)
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _tilted(x: Any, y: Any, half: float) -> list[list[Any]]:
    """The rows of `perspective`, for arrays of JAX or NumPy, or numbers."""
    whole = 1 - x**2 - y**2
    tilt_x, tilt_y = -x * (1 - x**2 + y**2) / whole, -y * (1 - y**2 + x**2) / whole
    one, shear = x * 0 + 1, 2 * x * y / whole
    return [
        [one, shear, tilt_x * half],
        [shear, one, tilt_y * half],
        [tilt_x / half, tilt_y / half, one],
    ]


def limits(settings: Augmentation) -> Limits:
    """Bounds that the maps keep to which these settings draw."""
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


def _square(maps: Float[Array, "batch 2 3"]) -> Float[Array, "batch 3 3"]:
    """Affine maps as homographies."""
    last = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0], maps.dtype), (maps.shape[0], 1, 3))
    return jnp.concatenate([maps, last], 1)


def light(
    image: Float[Array, "batch size size 3"],
    brightness: Float[Array, " batch"],
    contrast: Float[Array, " batch"],
    lighting: Literal["pixel", "logit"] = "pixel",
) -> Float[Array, "batch size size 3"]:
    """Brightness and contrast, of the pixels or of their logits.

    pixel: (x - mean) * contrast + mean + brightness, clipped to 0..1 (fastai 0.7, `lighting`);
    the mean is one number over an example's pixels and channels. logit:
    sigmoid((logit(x) + brightness) * contrast) (fastai 2, `Brightness`, `Contrast`).
    """
    added, factor = brightness.reshape(-1, 1, 1, 1), contrast.reshape(-1, 1, 1, 1)
    if lighting == "logit":
        # Beyond 1e-7 from black or white logits stay as they are there, as in fastai 2.
        inner = jnp.clip(image, 1e-7, 1 - 1e-7)
        lit = jax.nn.sigmoid((jnp.log(inner / (1 - inner)) + added) * factor)
    else:
        mean = image.mean((1, 2, 3), keepdims=True)
        lit = jnp.clip((image - mean) * factor + mean + added, 0, 1)
    # (x - mean) + mean is x only up to rounding, and zero strength shall change nothing.
    untouched = (added == 0) & (factor == 1)
    return jnp.where(untouched, image, lit)


def erase(
    image: Float[Array, "batch size size 3"], parameters: Parameters
) -> Float[Array, "batch size size 3"]:
    """The rectangle that was drawn filled with the view's own mean colour (Zhong 2017).

    The mean over the data set, which torchvision and timm fill with, is what a network takes for
    the least of signals; the view's own is that too, and needs no knowledge of the data.
    """
    *_, left, top, width, height = parameters
    gone = rectangle.inside(left, top, width, height, image.shape[1])
    return jnp.where(gone[..., None], image.mean((1, 2), keepdims=True), image)


def in_words(settings: Augmentation) -> str:
    """One line: the preset, and the strengths of every kind of variation that there is."""
    s = settings
    kinds = {
        ("rotate_degrees", "rotate_probability"): s.rotate_degrees and s.rotate_probability,
        ("max_zoom", "zoom_probability"): s.max_zoom > 1 and s.zoom_probability,
        ("perspective", "perspective_probability"): s.perspective and s.perspective_probability,
        ("crop_min_area", "crop_max_ratio"): s.crop_min_area < 1,
        ("flip",): s.flip,
        ("dihedral",): s.dihedral,
        ("lighting", "brightness", "contrast", "lighting_probability"): s.lighting_probability
        and (s.brightness or s.contrast),
        ("erase_probability", "erase_min_area", "erase_max_area", "erase_max_ratio"): (
            s.erase_probability
        ),
        ("mixup_alpha",): s.mixes and s.mixup_alpha,
        ("cutmix_alpha",): s.mixes and s.cutmix_alpha,
        ("mix_probability",): s.mixes,
        ("label_smoothing",): s.label_smoothing,
    }
    told = [
        f"{name}={_said(getattr(s, name))}" for names, on in kinds.items() if on for name in names
    ]
    return f"augmentation ({s.preset}): {', '.join(told) or 'none'}"


def _said(value: bool | float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
