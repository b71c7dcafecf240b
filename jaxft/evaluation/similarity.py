"""Similarity of two sets of features of the same examples: cosine, and linear CKA."""

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "examples _"]
LEAST_EXAMPLES = 4  # for CKA


def cosine(before: Features, now: Features) -> float:
    """Return the cosine between an example's two feature vectors, averaged over the examples."""
    first, second = np.asarray(before, np.float64), np.asarray(now, np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    known = lengths > 0
    return float(np.mean((first * second).sum(1)[known] / lengths[known])) if known.any() else 0.0


def cka(before: Features, now: Features) -> float | None:
    """Return the linear centred kernel alignment: 1 for features alike but for rotation and scale.

    Its terms are unbiased, so that unrelated features have 0 on average, however few the examples.
    None where it is not defined: fewer than LEAST_EXAMPLES examples, or features that are constant.

    Source: Kornblith, Norouzi, Lee and Hinton, Similarity of Neural Network Representations
    Revisited (2019); the estimator: Song, Smola, Gretton, Bedo and Borgwardt, Feature Selection via
    Dependence Maximization (2012).
    """
    if len(before) < LEAST_EXAMPLES:
        return None
    first, second = _gram(before), _gram(now)
    scale = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / np.sqrt(scale)) if scale > 0 else None


def _gram(features: Features) -> Float[np.ndarray, "examples examples"]:
    """Inner products of the centred examples, without those of an example with itself."""
    centred = np.asarray(features, np.float64)
    centred = centred - centred.mean(0)
    found: np.ndarray = centred @ centred.T
    np.fill_diagonal(found, 0)
    return found


def _hsic(
    first: Float[np.ndarray, "examples examples"], second: Float[np.ndarray, "examples examples"]
) -> float:
    """Return the unbiased Hilbert-Schmidt independence criterion, from Gram matrices."""
    count = len(first)
    sums = first.sum(0), second.sum(0)
    total = (first * second).sum() + sums[0].sum() * sums[1].sum() / ((count - 1) * (count - 2))
    return float(total - 2 / (count - 2) * (sums[0] @ sums[1])) / (count * (count - 3))
