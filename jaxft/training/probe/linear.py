"""A linear head on features: multinomial logistic regression, fitted by L-BFGS.

The problem is convex: there is no rate, no epoch and no seed on which the result depends. How
strongly the weights are held small is chosen on a fifth of the training examples; the validation
examples, by which bodies are ranked, choose nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from scipy import optimize

from jaxft.data.sources.holdout import stratified_split
from jaxft.recipe.cross_entropy import cross_entropy

# Factors of half the squared weights beside the mean loss, from the strongest on.
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
WITHOUT_CHOICE = 1.0  # where no class has two training examples
HELD_OUT, HELD_OUT_SEED = 0.2, 42
ITERATIONS = 300
Kernel = Float[np.ndarray, "features_and_bias classes"]  # the last row is the bias
Features = Float[np.ndarray, "examples features"]


class Scores(NamedTuple):
    """Validation losses in nats, which examples are right, and the strength that was chosen."""

    losses: Float[np.ndarray, " examples"]
    right: Bool[np.ndarray, " examples"]
    strength: float


def measure(
    train: tuple[Features, Int[np.ndarray, " examples"]],
    valid: tuple[Float[np.ndarray, "valid_examples features"], Int[np.ndarray, " valid_examples"]],
    classes: int,
    go_on: Callable[[], None] = lambda: None,
) -> Scores:
    """Fit a head to training features and labels; score it on those of validation.

    Args:
      train, valid: features and labels.
      classes: their number.
      go_on: called now and then; may raise, to end this.
    """
    mean, scale = _moments(train[0])
    rows, labels = _standard(train[0], mean, scale), jnp.asarray(train[1])

    def fit(strength: float, shares: np.ndarray, begin: Kernel) -> Kernel:
        return _fitted(rows, labels, shares.astype(np.float32), strength, begin, go_on)

    strength, begin = _chosen(fit, rows, train[1], classes)
    kernel = fit(strength, np.full(len(train[1]), 1 / len(train[1])), begin)
    losses, right = _scored(kernel, _standard(valid[0], mean, scale), jnp.asarray(valid[1]))
    return Scores(np.asarray(losses), np.asarray(right), strength)


def _moments(features: Features) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    return mean, np.where(scale > 0, scale, 1.0)


def _standard(features: Features, mean: np.ndarray, scale: np.ndarray) -> Array:
    """Return standardised features with a column of ones, on the device."""
    rows = np.ones((len(features), features.shape[1] + 1), np.float32)
    rows[:, :-1] = (features - mean) / scale
    return jnp.asarray(rows)


def _chosen(
    fit: Callable[[float, np.ndarray, Kernel], Kernel],
    rows: Array,
    labels: np.ndarray,
    classes: int,
) -> tuple[float, Kernel]:
    """Choose a strength by the loss on held-out training examples; -> it, and a kernel near its.

    From the strongest on, until the loss rises: weaker ones only fit the others more closely.
    """
    kept, held = stratified_split(labels, HELD_OUT, HELD_OUT_SEED)
    kernel = np.zeros((rows.shape[1], classes), np.float32)
    if len(held) == 0:
        return WITHOUT_CHOICE, kernel
    shares = np.zeros(len(labels))
    shares[kept] = 1 / len(kept)
    best = (float("inf"), STRENGTHS[0], kernel)
    for strength in STRENGTHS:
        kernel = fit(strength, shares, kernel)
        losses, _ = _scored(kernel, rows, jnp.asarray(labels))
        loss = float(np.asarray(losses)[held].mean(dtype=np.float64))
        if loss >= best[0]:
            break
        best = (loss, strength, kernel)
    return best[1:]


def _fitted(
    rows: Array,
    labels: Array,
    shares: np.ndarray,
    strength: float,
    begin: Kernel,
    go_on: Callable[[], None],
) -> Kernel:
    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        go_on()
        kernel = flat.reshape(begin.shape).astype(np.float32)
        value, slope = _objective(kernel, rows, labels, shares, strength)
        return float(value), np.asarray(slope, np.float64).reshape(-1)

    options = {"maxiter": ITERATIONS, "ftol": 1e-7, "gtol": 1e-5}
    start = begin.astype(np.float64).reshape(-1)
    found = optimize.minimize(both, start, method="L-BFGS-B", jac=True, options=options)
    kernel: np.ndarray = found.x.reshape(begin.shape).astype(np.float32)
    return kernel


def _logits(kernel: Array, rows: Array) -> Array:
    # TF32 on a GPU, or a TPU's bfloat16, would end the search for a minimum early.
    return jnp.matmul(rows, kernel, precision=lax.Precision.HIGHEST)


@jax.jit
@jax.value_and_grad
def _objective(kernel: Array, rows: Array, labels: Array, shares: Array, strength: Array) -> Array:
    losses = cross_entropy(_logits(kernel, rows), labels)
    return (shares * losses).sum() + strength / 2 * (kernel[:-1] ** 2).sum()


@jax.jit
def _scored(kernel: Array, rows: Array, labels: Array) -> tuple[Array, Array]:
    logits = _logits(kernel, rows)
    return cross_entropy(logits, labels), logits.argmax(-1) == labels
