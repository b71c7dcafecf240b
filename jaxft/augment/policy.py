"""RandAugment and TrivialAugment: operations that are drawn from a list, and how strong each is."""

from enum import IntEnum, unique
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxft.augment.augmentation import BINS, Augmentation
from jaxft.augment.streams import Stream


@unique
class Operation(IntEnum):
    """The fourteen of both papers, in torchvision's order."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTOCONTRAST = 12
    EQUALIZE = 13


GEOMETRIC = tuple(Operation(number) for number in range(1, 6))
SIGNED = tuple(Operation(number) for number in range(1, 10))  # either way, half of the time


class Chosen(NamedTuple):
    """Draws for each example of a batch, in the order in which they are applied.

    `magnitude` has its operation's own unit: `table`.
    """

    operation: Int[Array, "ops batch"]
    magnitude: Float[Array, "ops batch"]


def table(settings: Augmentation) -> Float[np.ndarray, "operations bins"]:
    """Magnitude of each operation in each of the 31 bins, as torchvision's tables have it.

    Shears: pixels aside for one pixel down (or across); translations: sides of the view; rotation:
    degrees; the four from brightness to sharpness: distance of the factor from 1; posterize: bits
    that are kept; solarize: the level, of 255, from which on pixels are inverted; else 0.
    torchvision's TrivialAugmentWide translates by up to 32 pixels, of whatever image: here, of 224.
    """
    wide = settings.policy == "trivialaugment"
    shear, degrees, blend, bits = (0.99, 135.0, 0.99, 6) if wide else (0.3, 30.0, 0.9, 4)
    share = np.linspace(0, 1, BINS)
    magnitudes = np.zeros((len(Operation), BINS))
    magnitudes[[Operation.SHEAR_X, Operation.SHEAR_Y]] = shear * share
    shift = 32 / 224 if wide else 150 / 331
    magnitudes[[Operation.TRANSLATE_X, Operation.TRANSLATE_Y]] = shift * share
    magnitudes[Operation.ROTATE] = degrees * share
    magnitudes[Operation.BRIGHTNESS : Operation.SHARPNESS + 1] = blend * share
    magnitudes[Operation.POSTERIZE] = 8 - np.round(bits * share)
    magnitudes[Operation.SOLARIZE] = 255 * (1 - share)
    return magnitudes


def bins(settings: Augmentation) -> list[int]:
    """Bins that the settings draw from."""
    return list(range(BINS)) if settings.policy == "trivialaugment" else [settings.policy_magnitude]


def draw(keys: Key[Array, " batch"], settings: Augmentation) -> Chosen:
    """Draw every example's operations.

    RandAugment (Cubuk 2019): `policy_ops` of them, each any of the fourteen, all of one bin.
    TrivialAugment (Mueller 2021): one, of any bin.
    """
    count = 1 if settings.policy == "trivialaugment" else settings.policy_ops
    keys = jax.vmap(lambda key: jax.random.fold_in(key, Stream.POLICY))(keys)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (3, count), jnp.float32))(keys)
    which, strength, sign = jnp.moveaxis(uniform, 0, -1)
    operation = jnp.floor(which * len(Operation)).astype(jnp.int32)
    magnitudes = table(settings)[:, bins(settings)]
    bin_drawn = jnp.floor(strength * magnitudes.shape[1]).astype(jnp.int32)
    # Taken out of the table by zeros and ones: exact, and no gather.
    row = operation[..., None] == jnp.arange(len(Operation))
    column = bin_drawn[..., None] == jnp.arange(magnitudes.shape[1])
    picked = row[..., None] & column[..., None, :]
    magnitude = jnp.sum(jnp.where(picked, jnp.asarray(magnitudes, float), 0), (-2, -1))
    signed = (row & np.isin(list(Operation), SIGNED)).any(-1)
    return Chosen(operation, jnp.where(signed & (sign < 0.5), -magnitude, magnitude))
