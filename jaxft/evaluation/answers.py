"""Answers from a run's probabilities: by class, by rank, what is confused, how sure it may be."""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxft.evaluation import intervals
from jaxft.evaluation.calibration import calibrate, loss_of
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_object

FOLDER = "valid"  # in a workdir: the answers on its validation images
METRICS, PREDICTIONS, WRONG = "metrics.json", "predictions.csv", "wrong.csv"  # of such a folder
RANKS = (3, 5)  # of top-k
CONFUSIONS = 20  # pairs of classes that are named
WHOLE = 100  # classes up to which the JSON holds the whole confusion matrix


def fits(folder: AnyPath, name: str, content: bytes) -> bool:
    """Tell if a file's content is what was written; metrics.json beside it has the digest."""
    files = (read_object(folder / METRICS) or {}).get("files", {})
    return files.get(name) in (None, sha256(content).hexdigest())


def answers(
    probabilities: Float[np.ndarray, "examples classes"],
    labels: Int[np.ndarray, " examples"],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Return metrics of probabilities as JSON takes them; docs/results.md explains each."""
    predicted = probabilities.argmax(1)
    right = predicted == labels
    matrix = confusion(predicted, labels, len(classes))
    by_class = _by_class(matrix, classes)
    recalls = {row["class"]: row["recall"] for row in by_class if row["count"]}
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": list(intervals.of_accuracy(int(right.sum()), len(labels))),
        "balanced_accuracy": sum(recalls.values()) / max(len(recalls), 1),
        "loss": loss_of(probabilities, labels),
        "top_k": _top_k(probabilities, labels),
        "calibration": asdict(calibrate(probabilities, labels)),
        "accuracy_by_class": recalls,
        "per_class": by_class,
        "most_confused": _most_confused(matrix, classes),
        **({"confusion": matrix.tolist()} if len(classes) <= WHOLE else {}),
    }


def confusion(
    predicted: Int[np.ndarray, " examples"], labels: Int[np.ndarray, " examples"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Count the examples of each true class (row) by predicted class (column)."""
    found: np.ndarray = np.bincount(labels * classes + predicted, minlength=classes**2)
    return found.reshape(classes, classes)


def _by_class(
    matrix: Int[np.ndarray, "classes classes"], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of every class; None where they would be 0 / 0."""
    rows = []
    for index, name in enumerate(classes):
        hits, count, predicted = matrix[index, index], matrix[index].sum(), matrix[:, index].sum()
        rows.append(
            {
                "class": name,
                "count": int(count),
                "predicted": int(predicted),
                "precision": float(hits / predicted) if predicted else None,
                "recall": float(hits / count) if count else None,
                "f1": float(2 * hits / (count + predicted)) if count + predicted else None,
            }
        )
    return rows


def _top_k(
    probabilities: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> dict[str, float]:
    """Shares of the examples whose class is among the k most probable."""
    own = probabilities[np.arange(len(labels)), labels]
    rank = (probabilities > own[:, None]).sum(1)
    return {str(k): float((rank < k).mean()) for k in RANKS if k < probabilities.shape[1]}


def _most_confused(
    matrix: Int[np.ndarray, "classes classes"], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Name the pairs of classes that are taken for each other most often."""
    apart = matrix * ~np.eye(len(classes), dtype=bool)
    order = np.argsort(-apart, axis=None, kind="stable")[:CONFUSIONS]
    pairs = (divmod(int(place), len(classes)) for place in order)
    return [
        {"true": classes[true], "predicted": classes[said], "count": int(apart[true, said])}
        for true, said in pairs
        if apart[true, said]
    ]
