"""Colours of views by a policy's operations, each the same as Pillow's but for its rounding.

A function takes images in 0..1 and a number for each, of the unit that `policy.table` tells.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxft.augment.policy import Chosen, Operation
from jaxft.devices import platform

LUMA = 0.299, 0.587, 0.114
NIBBLE = 16  # values of half a byte
Images = Float[Array, "batch size size 3"]
Numbers = Float[Array, " batch"]


def recolour(view: Images, chosen: Chosen) -> Images:
    """Apply the operations that change colours, one after the other."""
    way = _one_by_one if platform.current().name == "cpu" else _all_at_once
    for operation, magnitude in zip(chosen.operation, chosen.magnitude, strict=True):
        view = way(view, operation, magnitude.astype(view.dtype))
    return view


def _one_by_one(view: Images, operation: Int[Array, " batch"], magnitude: Numbers) -> Images:
    """Compute each image's own operation alone: on CPU a loop with branches is the cheapest."""
    names = list(COLOURS)
    branches = [lambda image, _: image, *COLOURS.values()]
    branch = jnp.maximum(operation - (names[0] - 1), 0)

    def one(drawn: tuple[Array, Array, Array]) -> Array:
        image, which, number = drawn
        changed: Array = lax.switch(which, branches, image[None], number[None])[0]
        return changed

    changed: Array = lax.map(one, (view, branch, magnitude))
    return changed


def _all_at_once(view: Images, operation: Int[Array, " batch"], magnitude: Numbers) -> Images:
    """Compute every operation for all images and take each one's own."""
    changed = view
    for name, function in COLOURS.items():
        own = _wide(operation == name)
        changed = jnp.where(own, function(view, magnitude), changed)
    return changed


def brightness(image: Images, by: Numbers) -> Images:
    """Multiply by 1 + `by`."""
    return _away_from(jnp.zeros_like(image), image, by)


def color(image: Images, by: Numbers) -> Images:
    """Multiply the distance from gray by 1 + `by`."""
    return _away_from(_gray(image), image, by)


def contrast(image: Images, by: Numbers) -> Images:
    """Multiply the distance from the mean gray by 1 + `by`."""
    return _away_from(_gray(image).mean((1, 2, 3), keepdims=True), image, by)


def sharpness(image: Images, by: Numbers) -> Images:
    """Multiply the distance from a smoothed image by 1 + `by`; pixels at borders stay."""
    size = image.shape[1]
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = sum(padded[:, i : i + size, j : j + size] for i in range(3) for j in range(3))
    inner = (jnp.arange(size) > 0) & (jnp.arange(size) < size - 1)
    inner = (inner[:, None] & inner)[None, :, :, None]
    smooth = jnp.where(inner, (around + 4 * image) / 13, image)
    return _away_from(smooth, image, by)


def posterize(image: Images, bits: Numbers) -> Images:
    """Keep the upper `bits` of the eight."""
    step = _wide(jnp.exp2(8 - bits))
    return jnp.floor(_levels(image) / step) * step / 255


def solarize(image: Images, threshold: Numbers) -> Images:
    """Invert levels of `threshold` (of 255) and above."""
    return jnp.where(_levels(image) >= _wide(threshold), 1 - image, image)


def autocontrast(image: Images, _: Numbers) -> Images:
    """Stretch each channel's range to 0..1."""
    least, most = image.min((1, 2), keepdims=True), image.max((1, 2), keepdims=True)
    several = most > least
    return jnp.where(several, (image - least) / jnp.where(several, most - least, 1), image)


def equalize(image: Images, _: Numbers) -> Images:
    """Make each channel's levels equally frequent, as far as their number allows."""
    levels = jnp.moveaxis(_levels(image), -1, 1).reshape(len(image), 3, -1).astype(jnp.int32)
    way = _by_index if platform.current().name == "cpu" else _by_products
    found = jnp.moveaxis(way(levels).reshape(len(image), 3, *image.shape[1:3]), 1, -1)
    return found.astype(image.dtype) / 255


def _by_index(levels: Int[Array, "batch 3 pixels"]) -> Int[Array, "batch 3 pixels"]:
    """Count levels, and look up what they become, by their index."""

    def changed(channel: Array) -> Array:
        counts = jnp.zeros(256, jnp.int32).at[channel].add(1, mode="promise_in_bounds")
        return _equal(counts).at[channel].get(mode="promise_in_bounds")

    return jax.vmap(jax.vmap(changed))(levels)


def _by_products(levels: Int[Array, "batch 3 pixels"]) -> Array:
    """Count and look up by products with zeros and ones of the upper and the lower half byte.

    TPU's scatters and gathers are slow.
    """
    parts = levels // NIBBLE, levels % NIBBLE
    high, low = ((part[..., None] == jnp.arange(NIBBLE)).astype(jnp.bfloat16) for part in parts)
    counts = jnp.einsum("bcnh,bcnl->bchl", high, low, preferred_element_type=jnp.float32)
    mapped = _equal(counts.reshape(*counts.shape[:2], -1).astype(jnp.int32))
    mapped = mapped.reshape(counts.shape).astype(jnp.bfloat16)
    rows = jnp.einsum("bcnh,bchl->bcnl", high, mapped, preferred_element_type=jnp.bfloat16)
    return (rows * low).astype(jnp.float32).sum(-1)


def _equal(counts: Int[Array, "*channels 256"]) -> Int[Array, "*channels 256"]:
    """Level that each level of a channel becomes, by how many pixels have it."""
    levels = jnp.arange(counts.shape[-1])
    highest = jnp.where(counts > 0, levels, -1).max(-1, keepdims=True)
    of_highest = jnp.where(levels == highest, counts, 0).sum(-1, keepdims=True)
    step = (counts.sum(-1, keepdims=True) - of_highest) // 255
    below = jnp.cumsum(counts, -1) - counts
    mapped = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, mapped, levels)


def _wide(numbers: Array) -> Array:
    """Give one number an image the rank of images."""
    return numbers.reshape(-1, 1, 1, 1)


def _levels(image: Images) -> Images:
    """Whole levels of 0..255."""
    return jnp.clip(jnp.round(image * 255), 0, 255)


def _gray(image: Images) -> Float[Array, "batch size size 1"]:
    red, green, blue = (image[..., i : i + 1] * LUMA[i] for i in range(3))
    return red + green + blue


def _away_from(degenerate: Array, image: Images, by: Numbers) -> Images:
    return jnp.clip(degenerate + (image - degenerate) * _wide(1 + by), 0, 1)


COLOURS: dict[Operation, Callable[[Images, Numbers], Images]] = {
    Operation.BRIGHTNESS: brightness,
    Operation.COLOR: color,
    Operation.CONTRAST: contrast,
    Operation.SHARPNESS: sharpness,
    Operation.POSTERIZE: posterize,
    Operation.SOLARIZE: solarize,
    Operation.AUTOCONTRAST: autocontrast,
    Operation.EQUALIZE: equalize,
}
