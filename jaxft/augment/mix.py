"""Mixup and cutmix: each example's view with some of its partner's, keyed by example.

The partner of position 2k in the epoch's order is 2k + 1, and the other way round. A device's
share of a microbatch has an even number of examples, so both lie on the same device, next to each
other, on any number of devices: no communication, and the same pairs on any mesh.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxft.augment import rectangle
from jaxft.augment.augmentation import Augmentation
from jaxft.augment.streams import Stream


class Mixture(NamedTuple):
    """Draws for each example of a batch.

    `share` 0..1 of the example itself; `cut`: mixed by a rectangle; `x`, `y`: the rectangle's
    centre as a share of the image.
    """

    share: Float[Array, " batch"]
    cut: Bool[Array, " batch"]
    x: Float[Array, " batch"]
    y: Float[Array, " batch"]


def partner(values: Array) -> Array:
    """Exchange each pair of neighbours along the first axis, [batch, ...]; batch is even."""
    return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


def mix(
    view: Float[Array, "batch size size 3"],
    keys: Key[Array, " batch"],
    settings: Augmentation,
) -> tuple[Float[Array, "batch size size 3"], Float[Array, " batch"]]:
    """Mix views with their partners'; return them, and the share of each that is its own.

    The loss is `share` times that of the own label plus 1 - share times that of the partner's.
    """
    drawn = draw(keys, settings)
    blend = drawn.share[:, None, None, None].astype(view.dtype)
    mixed = view * blend + partner(view) * (1 - blend)
    if not settings.cutmix_alpha:
        return mixed, drawn.share
    pasted = hole(drawn, view.shape[1])
    cut = jnp.where(pasted[..., None], partner(view), view)
    # Of what was really pasted: the rectangle may reach over the border.
    left_over = 1 - pasted.mean((1, 2), dtype=drawn.share.dtype)
    share = jnp.where(drawn.cut, left_over, drawn.share)
    return jnp.where(drawn.cut[:, None, None, None], cut, mixed), share


def draw(keys: Key[Array, " batch"], settings: Augmentation) -> Mixture:
    """Draw every example's mixture.

    Mixup: the greater of lambda and 1 - lambda is the example's own, lambda ~ beta(alpha, alpha)
    (Zhang 2018; own share as in fastai 2, so that no example gets lost). Cutmix: a rectangle of the
    image's aspect and the area 1 - lambda about a uniform centre (Yun 2019). With both, each is
    used half of the time.
    """
    keys = jax.vmap(lambda key: jax.random.fold_in(key, Stream.MIX))(keys)
    numbers, betas = jax.vmap(jax.random.split, out_axes=1)(keys)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (4,), jnp.float32))(numbers).T
    uniform = uniform.astype(float)

    def beta(alpha: float) -> Array:
        if not alpha:
            return jnp.ones(uniform.shape[1:], uniform.dtype)
        return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, dtype=float))(betas)

    up = beta(settings.mixup_alpha)
    share, cut = jnp.maximum(up, 1 - up), jnp.zeros(uniform.shape[1:], bool)
    if settings.cutmix_alpha:
        cut = uniform[1] < (0.5 if settings.mixup_alpha else 1.0)
        share = jnp.where(cut, beta(settings.cutmix_alpha), share)
    mixed = uniform[0] < settings.mix_probability
    return Mixture(jnp.where(mixed, share, 1.0), cut & mixed, uniform[2], uniform[3])


def hole(drawn: Mixture, image_size: int) -> Bool[Array, "batch size size"]:
    """Pixels that cutmix takes from the partner."""
    side = jnp.sqrt(1 - drawn.share)
    return rectangle.inside(drawn.x - side / 2, drawn.y - side / 2, side, side, image_size)
