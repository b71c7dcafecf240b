"""Drift of the body's features while it trains, and if the head was ready for that.

A phase that trains the body keeps, of its first moment, the features of some training images and
the head: WORKDIR/drift/PHASE.npz. Then and at the end of every cycle `Drift.measure` says how far
the features have moved, what the head of that moment makes of them, and what one does that is
fitted anew.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxft.data.images.memory import Images
from jaxft.devices import sharding
from jaxft.evaluation import similarity
from jaxft.evaluation.calibration import bins_of, expected_error
from jaxft.evaluation.metrics import Evaluation
from jaxft.evaluation.refit import refit
from jaxft.evaluation.validate import score
from jaxft.materials.extraction import extract
from jaxft.materials.materials import Materials
from jaxft.models.model import Model
from jaxft.models.variables import Weights, param_dtype
from jaxft.recipe.cross_entropy import cross_entropy
from jaxft.runtime import digests, hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.cursor import Cursor
from jaxft.workdir.snapshot import Snapshot

FOLDER = "drift"

Features = Float[np.ndarray, "images _"]


class Reference(NamedTuple):
    """The moment that drift is measured from: pooled features by group, and the head.

    `head` maps the paths of its parameters and statistics to arrays.
    """

    early: Features
    late: Features
    head: Mapping[str, np.ndarray]


def begun(
    materials: Materials,
    cursor: Cursor,
    entry: Snapshot,
    valid_features: Features,
    workdir: AnyPath,
) -> "Drift":
    """Measure the moment at which the cursor's phase begins, and note it as the reference.

    Args:
      entry: what the phase begins with; weights on the mesh.
      valid_features: of the validation split, by these weights.
    """
    drift, evaluation = Drift(materials), score(materials, entry.weights, valid_features)
    found = drift.measure(entry.weights, evaluation, valid_features)
    if cursor.least_loss is not None:
        error = float(np.std(evaluation.losses)) / np.sqrt(len(evaluation.losses))
        rise = evaluation.val_loss - cursor.least_loss
        found["least_loss"], found["rise"] = cursor.least_loss, rise / error if error else 0.0
    cursor.phase.drift = [{"epoch": 0, **found}]
    assert drift.reference is not None
    write(file_of(materials, cursor, workdir), drift.reference)
    return drift


def resumed(materials: Materials, cursor: Cursor, workdir: AnyPath) -> "Drift | None":
    """Go on measuring a phase's drift; None where its reference is no longer there."""
    if not cursor.phase.drift:
        return None
    place = file_of(materials, cursor, workdir)
    reference = read(place)
    if reference is None:
        materials.console.say(f"warning: {place} can't be read; drift is measured no more")
        return None
    return Drift(materials, reference)


def file_of(materials: Materials, cursor: Cursor, workdir: AnyPath) -> AnyPath:
    """The file of the reference of the cursor's phase."""
    return workdir / FOLDER / f"{materials.settings.phases[cursor.phase_index].name}.npz"


class Drift:
    """Measures drift from a reference, on some training images and all of validation."""

    def __init__(self, materials: Materials, reference: Reference | None = None) -> None:
        """Begin at a reference; None: at the weights that are measured first."""
        self._materials = materials._replace(console=Console(None))
        most = materials.settings.drift_images if reference is None else len(reference.late)
        self._images = chosen_images(materials, most)
        self._gradients = jax.jit(make_gradients(materials.model))
        self.reference = reference

    def measure(
        self, weights: Weights, evaluation: Evaluation, valid_features: Features
    ) -> dict[str, Any]:
        """Compare weights with the reference; docs/drift.md explains each number.

        Args:
          weights: of all groups, on the mesh.
          evaluation, valid_features: theirs, of the validation split.

        Raises:
          Interrupted: a stop was requested.
        """
        early, late = self._features(weights)
        head = digests.flat(sharding.fetch(_head_of(weights)))
        reference = self.reference = self.reference or Reference(early, late, head)
        materials, labels = self._materials, self._images.split.labels
        there = sharding.replicate(dict(reference.head), materials.mesh)
        old = score(materials, _with_head(weights, there), valid_features)
        refitted = refit(late, labels, len(materials.dataset.classes))
        bins = bins_of(evaluation.probabilities, evaluation.labels)
        placed = sharding.replicate((late, labels), materials.mesh)
        gradients = sharding.fetch(self._gradients(weights, *placed))
        pairs = {"early": (reference.early, early), "late": (reference.late, late)}
        return {
            "images": len(labels),
            "valid_images": len(evaluation.labels),
            "cosine": {group: similarity.cosine(*pair) for group, pair in pairs.items()},
            "cka": {group: similarity.cka(*pair) for group, pair in pairs.items()},
            "accuracy": evaluation.accuracy,
            "val_loss": evaluation.val_loss,
            "calibration_error": expected_error(bins),
            "old_head": {"accuracy": old.accuracy, "val_loss": old.val_loss},
            "refitted_accuracy": float((refitted(valid_features) == evaluation.labels).mean()),
            "head_norm": _norm(head, "params"),
            "gradient_norm": float(np.linalg.norm(gradients, axis=1).mean()),
        }

    def _features(self, weights: Weights) -> tuple[Features, Features]:
        """Pooled output of `early`, and of `late`, of the chosen images."""
        forward = self._materials.forward
        by_group = self._materials._replace(forward=forward._replace(features=forward.groups))
        both = extract(by_group, weights, self._images, "drift")
        size = self._materials.model.feature_size
        return both[:, :-size], both[:, -size:]


def chosen_images(materials: Materials, most: int) -> Images:
    """So many training images, or all, to measure drift on: the same in every run."""
    images = materials.train_images
    chosen = np.random.default_rng(0).permutation(len(images))[:most]
    return images.select(np.sort(chosen))


def make_gradients(model: Model) -> Callable[..., Array]:
    """Make a function of (weights, features, labels): the gradient of every example's loss.

    It is that by the features, which enters the body; the head runs as in validation.
    """

    def loss(features: Array, weights: Weights, labels: Int[Array, " images"]) -> Array:
        features = features.astype(param_dtype(weights.params))
        logits, _ = model.classify(weights.params, weights.batch_stats, features)
        return cross_entropy(logits, labels).sum()

    gradient = jax.grad(loss)
    return lambda weights, features, labels: gradient(features, weights, labels)


@hosts.first_only
def write(place: AnyPath, reference: Reference) -> None:
    """Write a reference as .npz."""
    arrays: dict[str, Any] = {"early": reference.early, "late": reference.late, **reference.head}
    paths.make_folder(place.parent)
    paths.write(place, lambda content: np.savez(content, **arrays))


def read(place: AnyPath) -> Reference | None:
    """Read what `write` wrote, in the first process for all; None where it is no longer whole."""
    content = hosts.from_first(_bytes_of(place) if hosts.is_first() else None)
    try:
        with np.load(io.BytesIO(b"" if content is None else content.tobytes())) as stored:
            arrays = dict(stored)
        return Reference(arrays.pop("early"), arrays.pop("late"), arrays)
    except Exception:  # what a damaged file raises is anybody's guess
        return None


def _bytes_of(place: AnyPath) -> np.ndarray | None:
    try:
        return np.frombuffer(paths.read(place), np.uint8)
    except OSError:
        return None


def _head_of(weights: Weights) -> dict[str, Any]:
    return {name: tree["head"] for name, tree in weights._asdict().items()}


def _with_head(weights: Weights, head: Mapping[str, Any]) -> Weights:
    """Return weights with another head; `head` maps the paths of its arrays to them."""
    mine = _head_of(weights)
    old = jax.tree.unflatten(jax.tree.structure(mine), [head[name] for name in digests.flat(mine)])
    return Weights(*({**tree, "head": old[name]} for name, tree in weights._asdict().items()))


def _norm(arrays: Mapping[str, np.ndarray], kind: str) -> float:
    """Return the Euclidean norm of the arrays whose paths begin with `kind`."""
    squares = [
        np.square(array, dtype=np.float64).sum()
        for path, array in arrays.items()
        if path.startswith(kind)
    ]
    return float(np.sqrt(sum(squares)))
