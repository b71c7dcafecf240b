"""The network of an exported model, from canvases to probabilities."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxft.augment.view import evaluate_view, network_input
from jaxft.export.subject import Subject
from jaxft.models.fold import fold
from jaxft.models.variables import Weights

# What a format was written for, read back: canvases uint8 [n, canvas, canvas, 3] -> probabilities.
Run = Callable[[np.ndarray], np.ndarray]


NO_PLATFORM = ("any", "any")  # one that jaxft has no lowerings of its own for


def folded(subject: Subject) -> Weights:
    """Return the weights with BatchNorm in the body's kernels; within `targeting(*NO_PLATFORM)`."""
    fold_all = jax.jit(lambda weights: Weights(*fold(subject.model.body, *weights)))
    found: Weights = jax.tree.map(np.asarray, fold_all(subject.weights))
    return found


def logits(subject: Subject, weights: Weights) -> Callable[[Array], Array]:
    """Return the function from views in 0..1 [batch, size, size, 3] to logits [batch, classes].

    It normalises, and runs the body and the head, by these weights.
    """
    (params, stats), net = weights, subject.model

    def answer(view: Array) -> Array:
        images = network_input(view, net.preprocessing, jnp.float32)
        features, _ = net.features(params, stats, images)
        return net.classify(params, stats, features)[0]

    return answer


def probabilities(subject: Subject, weights: Weights) -> Callable[[Array], Array]:
    """Return the function from uint8 [batch, canvas, canvas, 3] to float32 [batch, classes]."""
    of_view = logits(subject, weights)

    def answer(canvases: Array) -> Array:
        return jax.nn.softmax(of_view(evaluate_view(canvases, subject.image_size)))

    return answer
