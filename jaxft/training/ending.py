"""Answers that a run leaves of its validation images, by the weights that it ends with."""

from jaxft.devices import sharding
from jaxft.evaluation.answers import FOLDER, WRONG, answers
from jaxft.materials.materials import Materials
from jaxft.materials.reading import at_size
from jaxft.report.answers.files import write_answers
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.training.loop import evaluate_weights
from jaxft.workdir.snapshot import Best


def answer(materials: Materials, best: Best, workdir: AnyPath) -> str:
    """Write WORKDIR/valid of a run's best weights, and say where to look.

    They are evaluated once more where this process has not measured them.

    Raises:
      Interrupted: a stop was requested.
    """
    quiet = materials._replace(console=Console(None))
    materials = at_size(quiet, materials.settings.phases[-1].image_size)
    probabilities = best.probabilities
    if probabilities is None:
        weights = sharding.replicate(best.weights, materials.mesh)
        probabilities = evaluate_weights(materials, weights).probabilities
    labels, classes = materials.dataset.valid.labels, materials.dataset.classes
    about = {"split": "valid", "weights": "best", "examples": len(labels), "tta": 0}
    folder = workdir / FOLDER
    scores = {**about, **answers(probabilities, labels, classes)}
    write_answers(folder, scores, probabilities, materials.valid_images, classes)
    wrong = int((probabilities.argmax(1) != labels).sum())
    if not wrong:
        return f"all {len(labels):,} validation images are right; how sure of each: {folder}"
    told = f"{wrong:,} of {len(labels):,} validation images are wrong"
    return f"{told}: {folder / 'most_wrong.png'}, {folder / WRONG}"
