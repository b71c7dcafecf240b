"""Activations that share BatchNorm's pass over memory."""

import jax.numpy as jnp
from jaxtyping import Array

# Ends of an activation's range: y = clip(z, low, high).
RANGES = {"none": (None, None), "relu": (0, None), "relu6": (0, 6)}


def activate(z: Array, activation: str) -> Array:
    """Clip z to the range of an activation, one of RANGES."""
    low, high = RANGES[activation]
    z = z if low is None else jnp.maximum(z, low)
    return z if high is None else jnp.minimum(z, high)


def passes(z: Array, activation: str) -> Array | bool:
    """Mask of the places where the activation's derivative is 1 (else 0)."""
    low, high = RANGES[activation]
    inside = True if low is None else z > low
    return inside if high is None else inside & (z < high)
