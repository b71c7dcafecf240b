"""Skewed classes, and two ways to make up for them in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key

SKEWED_RATIO = 2  # the largest class beside the smallest one


@dataclass(frozen=True)
class Balance:
    """Treatment of skewed classes in a phase.

    Attributes:
      kind: `sampling` draws each class equally often (`order`), `weights` multiplies the loss of
        an example by `class_weights`, `none` takes the examples as they are.
      counts: training examples by class.
    """

    kind: Literal["none", "sampling", "weights"] = "none"
    counts: tuple[int, ...] = ()

    @property
    def class_weights(self) -> Float[np.ndarray, " classes"]:
        """n / (classes * count) of each class: all classes weigh the same in all.

        The mean over the examples is 1, so that the loss keeps its size; as scikit-learn's
        class_weight="balanced". A class without examples gets 1.
        """
        counts = np.asarray(self.counts, float)
        even = counts.sum() / np.count_nonzero(counts)
        weights: np.ndarray = np.divide(even, counts, out=np.ones_like(counts), where=counts > 0)
        return weights


UNBALANCED = Balance()


def counts_of(labels: np.ndarray, classes: int = 0) -> tuple[int, ...]:
    """Number of examples of each class, of `classes` classes at least."""
    return tuple(np.bincount(labels, minlength=classes).tolist())


def order(
    key: Key[Array, ""], labels: Int32[Array, " examples"], counts: Sequence[int]
) -> Int32[Array, " examples"]:
    """A random order, as long as `labels`, in which each class comes equally often.

    Classes differ by one place at most. Within a class no example comes a second time before
    all have come once: a large class is seen in part, another part in each epoch, a small one
    several times over. Only whole numbers and sorts: the same bits everywhere.

    Args:
      key: everything random follows from it.
      labels: the class of every example.
      counts: as `counts_of(labels)`; not traced.
    """
    examples, present = len(labels), np.flatnonzero(counts).astype(np.int32)
    within, among, where = jax.random.split(key, 3)
    shuffled = jax.random.permutation(within, jnp.arange(examples, dtype=jnp.int32))
    by_class = shuffled[jnp.argsort(labels[shuffled], stable=True)]
    turn = jax.random.permutation(where, jnp.arange(examples, dtype=jnp.int32))
    # Which classes get the places that are left over changes from epoch to epoch.
    label = jax.random.permutation(among, jnp.asarray(present))[turn % len(present)]
    size = jnp.asarray(counts, jnp.int32)
    first = jnp.cumsum(size) - size
    return by_class[first[label] + turn // len(present) % size[label]]


def is_skewed(labels: np.ndarray) -> bool:
    """True where the largest class has twice as many examples as the smallest, or more."""
    _, counts = np.unique(labels, return_counts=True)
    return bool(counts.max() >= SKEWED_RATIO * counts.min())


def in_words(labels: np.ndarray, classes: Sequence[str], kind: str) -> str:
    """Report in a line how skewed the training examples are, and the treatment."""
    numbers, counts = np.unique(labels, return_counts=True)
    few, many = counts.argmin(), counts.argmax()
    done = {
        "none": "not corrected; set data.balance=sampling or weights to do so",
        "sampling": "each class is drawn equally often",
        "weights": "the losses are weighted",
    }[kind]
    return (
        f"skewed classes: {counts[few]} training images of {classes[numbers[few]]}, "
        f"{counts[many]} of {classes[numbers[many]]}; {done}"
    )
