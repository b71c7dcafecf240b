"""The network of an exported model, from canvases to probabilities."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxft.augment.view import evaluate_view, network_input
from jaxft.export.subject import Subject
from jaxft.models.variables import Weights

# What a format was written for, read back: canvases uint8 [n, canvas, canvas, 3] -> probabilities.
Run = Callable[[np.ndarray], np.ndarray]


def probabilities(subject: Subject, weights: Weights) -> Callable[[Array], Array]:
    """Return the function from uint8 [batch, canvas, canvas, 3] to float32 [batch, classes].

    It takes the view, normalises, and runs the body and the head, by these weights.
    """

    def answer(canvases: Array) -> Array:
        view = evaluate_view(canvases, subject.image_size)
        images = network_input(view, subject.model.preprocessing, jnp.float32)
        features, _ = subject.model.features(*weights, images)
        return jax.nn.softmax(subject.model.classify(*weights, features)[0])

    return answer
