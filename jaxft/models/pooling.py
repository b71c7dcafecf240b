"""Pooling of a body's features into one vector for each example."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def pool(
    features: Float[Array, "batch height width channels"], kind: str
) -> Float[Array, "batch pooled"]:
    """Pool features into one vector for each example.

    Args:
      features: the output of the body.
      kind: `max_avg` = maximum and average beside each other, in this order (2 x channels);
        `avg` = the average alone.
    """
    average = jnp.mean(features, axis=(1, 2))
    if kind == "avg":
        return average
    return jnp.concatenate([jnp.max(features, axis=(1, 2)), average], axis=-1)
