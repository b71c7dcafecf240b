"""Brightness and contrast of views."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxft.augment.draws import Parameters
from jaxft.devices import platform


def light_views(view: Array, parameters: Parameters, lighting: Literal["pixel", "logit"]) -> Array:
    """Light the views as drawn; on CPU in a branch.

    XLA CPU would make the view twice, for its mean and to light it; its compiler ignores an
    optimization barrier. On a GPU a branch is a program of its own and costs a pass over memory.
    """
    brightness, contrast = parameters.brightness, parameters.contrast
    if platform.current().name != "cpu":
        return light(view, brightness, contrast, lighting)
    lit: Array = lax.cond(
        ((brightness != 0) | (contrast != 1)).any(),
        lambda: light(view, brightness, contrast, lighting),
        lambda: view.astype(jnp.promote_types(view.dtype, brightness.dtype)),
    )
    return lit


def light(
    image: Float[Array, "batch size size 3"],
    brightness: Float[Array, " batch"],
    contrast: Float[Array, " batch"],
    lighting: Literal["pixel", "logit"] = "pixel",
) -> Float[Array, "batch size size 3"]:
    """Change brightness and contrast, of the pixels or of their logits.

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
