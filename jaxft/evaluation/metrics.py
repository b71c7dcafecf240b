"""Exact metrics over N examples: features, logits, losses, test-time augmentation."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxft.devices import sharding
from jaxft.evaluation.softmax import softmax
from jaxft.features.forward import Forward
from jaxft.models.variables import Weights
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.runtime import hosts


@dataclass(frozen=True)
class Evaluation:
    """Every example counted once, in the split's order.

    `losses` [N] cross-entropy in nats; `probabilities` [N, classes].
    """

    losses: Float[np.ndarray, " examples"]
    probabilities: Float[np.ndarray, "examples classes"]
    labels: np.ndarray

    @property
    def val_loss(self) -> float:
        """Mean cross-entropy."""
        return float(np.mean(self.losses, dtype=np.float64))

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, a fraction."""
        return float(np.mean(self.probabilities.argmax(1) == self.labels))

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies on each class that occurs, so that skew does not count."""
        right = self.probabilities.argmax(1) == self.labels
        return float(np.mean([right[self.labels == c].mean() for c in np.unique(self.labels)]))


def score(
    forward: Forward,
    weights: Weights,
    features: Float[np.ndarray, "examples features"],
    labels: np.ndarray,
    batch_size: int,
    mesh: Mesh,
) -> Evaluation:
    """Metrics of the head on features of every example; the last batch is padded and masked."""
    parts = []
    for first in range(0, len(features), batch_size):
        rows = features[first : first + batch_size]
        padded = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        out = forward.logits(weights, sharding.split_batch(sharding.my_rows(padded), mesh))
        parts.append(sharding.fetch_rows(out))
    logits = hosts.gather_batches(parts)[: len(features)]
    losses = np.asarray(cross_entropy(jnp.asarray(logits), jnp.asarray(labels)))
    return Evaluation(losses, softmax(logits), labels)
