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
    """Evaluate a run's best weights once more, write WORKDIR/valid, and say where to look.

    Raises:
      Interrupted: a stop was requested.
    """
    quiet = materials._replace(console=Console(None))
    materials = at_size(quiet, materials.settings.phases[-1].image_size)
    found = evaluate_weights(materials, sharding.replicate(best.weights, materials.mesh))
    classes = materials.dataset.classes
    about = {"split": "valid", "weights": "best", "examples": len(found.labels), "tta": 0}
    scores = {**about, **answers(found.probabilities, found.labels, classes)}
    folder = workdir / FOLDER
    write_answers(folder, scores, found.probabilities, materials.valid_images, classes)
    wrong = int((found.probabilities.argmax(1) != found.labels).sum())
    if not wrong:
        return f"all {len(found.labels):,} validation images are right; how sure of each: {folder}"
    told = f"{wrong:,} of {len(found.labels):,} validation images are wrong"
    return f"{told}: {folder / 'most_wrong.png'}, {folder / WRONG}"
