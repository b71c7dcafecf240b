"""Simple classifiers on the features that a head is trained on, which the network has to beat."""

import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Features = Float[np.ndarray, "examples features"]
Labels = Int[np.ndarray, " examples"]

# Numbers in the training features above which no baseline is measured. 13,000 x 2,560 with 100
# classes take 7 s of one core.
LARGEST = 2**25
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # scikit-learn's C, for standardised features
HELD_OUT = 0.2  # of the training examples, to choose C by
NEIGHBOURS = 5


class Baselines(NamedTuple):
    """Accuracies on the validation examples."""

    logistic_regression: float
    nearest_neighbours: float


def in_words(found: Mapping[str, float]) -> str:
    """A line for the end of a run; `found` as `summary.json` has it."""
    told = ", ".join(f"{name.replace('_', ' ')} {found[name]:.4f}" for name in Baselines._fields)
    return f"on the features that the head started with: {told}"


def available(labels: Labels, features: int) -> bool:
    """Tell if they can be measured in seconds: few enough numbers, and scikit-learn installed.

    Args:
      labels: of the training examples, which need two classes.
      features: of an example.
    """
    few = len(labels) * features <= LARGEST
    return few and len(np.unique(labels)) > 1 and importlib.util.find_spec("sklearn") is not None


def measure(
    train: Features,
    labels: Labels,
    valid: Float[np.ndarray, "valid_examples features"],
    valid_labels: Int[np.ndarray, " valid_examples"],
) -> Baselines:
    """Fit both on the training features and score them on the validation features.

    Logistic regression is regularised: C is chosen on a held-out fifth of the training examples,
    and the features are standardised. Nearest neighbours vote by cosine similarity.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    scaled, scaled_valid = scaler.transform(train), scaler.transform(valid)
    linear = _regression(_strength(scaled, labels)).fit(scaled, labels)
    count = min(NEIGHBOURS, len(train))
    near = KNeighborsClassifier(count, weights="distance", metric="cosine").fit(train, labels)
    return Baselines(
        float(linear.score(scaled_valid, valid_labels)), float(near.score(valid, valid_labels))
    )


def _strength(train: Features, labels: Labels) -> float:
    """The C whose regression does best on held-out training examples; of equals the smallest."""
    order = np.random.default_rng(0).permutation(len(train))
    cut = round(HELD_OUT * len(train))
    held, rest = order[:cut], order[cut:]
    if len(np.unique(labels[rest])) < 2:
        return STRENGTHS[0]
    scores = [
        _regression(c).fit(train[rest], labels[rest]).score(train[held], labels[held])
        for c in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax(scores))]


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=100, tol=1e-3)
