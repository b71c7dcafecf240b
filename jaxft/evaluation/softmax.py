"""Probabilities of logits, on the host."""

import numpy as np
from jaxtyping import Float


def softmax(logits: Float[np.ndarray, "examples classes"]) -> Float[np.ndarray, "examples classes"]:
    """Probabilities of logits, in float64."""
    shifted = np.exp(np.asarray(logits, np.float64) - logits.max(1, keepdims=True))
    shares: np.ndarray = shifted / shifted.sum(1, keepdims=True)
    return shares
