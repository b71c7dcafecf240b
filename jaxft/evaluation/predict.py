"""Use a finished (or running) run: restore its weights, evaluate a split, predict files."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxft.augment.view import evaluate_view, network_input
from jaxft.config import load
from jaxft.config.settings import Settings
from jaxft.data import Dataset, Split
from jaxft.data.images.sizing import canvas_size
from jaxft.data.sources.files import files_split, image_files
from jaxft.devices import sharding
from jaxft.errors import UserError
from jaxft.evaluation import validate
from jaxft.evaluation.tta import TTA_PHASE, combine
from jaxft.features.inference import View, make_forward
from jaxft.materials import extraction, reading, shortage
from jaxft.materials.identity import check_listed, describe_data
from jaxft.materials.materials import Materials
from jaxft.materials.model import create_model
from jaxft.materials.opening import open_data
from jaxft.materials.start_up import cache_directory, set_up
from jaxft.models.body import Preprocessing
from jaxft.models.variables import Weights, param_dtype
from jaxft.models.weights.preprocessing import of_run
from jaxft.runtime import hosts, paths
from jaxft.runtime.console import Console
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint
from jaxft.workdir.snapshot import last_weights, weights_of

REMOVE = "Mend or remove them."
SPLITS = ("train", "valid", "test")
# jax.image.resize's names; both cubics are Keys' with a = -0.5.
JAX_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


class Restored(NamedTuple):
    """A run's weights and how to use them.

    `apply(images uint8 [B,S,S,3])` -> probabilities [B, classes]; the images are square views in
    RGB. They are shrunk, with antialiasing, to the run's canvas if they are larger, and normalised.
    """

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    classes: tuple[str, ...]
    apply: Callable[[UInt8[Array, "batch side side 3"]], Float[Array, "batch classes"]]


def restore(workdir: str | AnyPath, which: str = "best") -> Restored:
    """Weights of a run's newest whole checkpoint.

    Args:
      workdir: of the run.
      which: `best` (what the run ends with) or `last` (where training stands).

    Raises:
      UserError: no run there, or no whole checkpoint.
    """
    settings, classes, expected = read_workdir(workdir)
    weights = read_weights(workdir, which)
    model = create_model(settings, len(classes), expected)

    @jax.jit
    def apply(images: Array) -> Array:
        size = settings.data.image_size
        canvas = _shrink(images, canvas_size(size), settings.data.interpolation)
        view = evaluate_view(canvas, size)
        dtype = param_dtype(weights.params)
        normalised = network_input(view, model.preprocessing, dtype)
        features, _ = model.features(weights.params, weights.batch_stats, normalised)
        logits, _ = model.classify(weights.params, weights.batch_stats, features)
        return jax.nn.softmax(logits)

    return Restored(weights.params, weights.batch_stats, classes, apply)


def _shrink(images: Array, side: int, interpolation: str) -> Array:
    """Square images no larger than `side`, resized with antialiasing as files are."""
    if images.shape[1] <= side:
        return images
    shape = (images.shape[0], side, side, 3)
    method = JAX_METHODS[interpolation]
    smaller = jax.image.resize(images.astype(jnp.float32), shape, method, antialias=True)
    return jnp.clip(jnp.round(smaller), 0, 255).astype(jnp.uint8)


def read_weights(workdir: str | AnyPath, which: str) -> Weights:
    """`best` or `last` weights, on the host.

    Raises:
      UserError: no such kind, or no whole checkpoint.
    """
    if which not in ("best", "last"):
        raise UserError(f"No weights are called {which!r}", hint="They are: best, last.")
    saved = checkpoint.read_newest(workdir)
    return weights_of(saved.best) if which == "best" else last_weights(saved.state)


def read_workdir(
    workdir: str | AnyPath,
) -> tuple[Settings, tuple[str, ...], Preprocessing]:
    """The settings and classes that a workdir describes, and what its weights expect of images.

    The settings are those of the run's end: `data.image_size` is the last phase's.

    Raises:
      UserError: it holds no run.
    """
    paths.demand_workdir(workdir)
    paths.demand(workdir)
    workdir = paths.of(workdir)
    try:
        plain = json.loads(paths.read(workdir / "config.json"))
        classes = json.loads(paths.read(workdir / "classes.json"))
    except (OSError, ValueError):
        raise UserError(
            f"{workdir} holds no run", hint="Give --workdir=DIR, where `jaxft train` wrote one."
        ) from None
    settings = load.from_dict(plain)
    return settings.at_size(settings.phases[-1].image_size), tuple(classes), of_run(workdir)


def score_split(
    workdir: str | AnyPath,
    split: str = "valid",
    which: str = "best",
    tta: int = 0,
    method: str = "fastai07",
    console: Console | None = None,
    batch_size: int = 0,
) -> dict[str, Any]:
    """Metrics of a run's weights on one of its splits.

    Args:
      workdir: of the run; its data must still be where config.json says.
      split: `valid`, `train` or `test`.
      which: `best` or `last`.
      tta: number of random training views besides the plain one.
      method: how views are combined, `fastai07` or `fastai2`; see evaluate.combine.
      console: where to tell what happens.
      batch_size: images at a time, over all devices (0 = as many as the run's).

    Returns:
      examples, accuracy, loss, tta, the accuracy of every class by its name, and the mean of these,
      balanced_accuracy.

    Raises:
      UserError: what `restore` raises; no such split; data that is gone or has other classes.
    """
    console = console or Console(None)
    settings, classes, expected = read_workdir(workdir)
    settings = in_batches(settings, batch_size)
    weights = read_weights(workdir, which)
    if split not in SPLITS:
        raise UserError(f"No split is called {split!r}", hint=f"They are: {', '.join(SPLITS)}.")
    set_up(settings)
    dataset = hosts.together(lambda: open_data(settings))
    if dataset.classes != classes:
        raise UserError(
            "The data has other classes than the run:",
            [f"only in the run: {c}" for c in classes if c not in dataset.classes]
            + [f"only in the data: {c}" for c in dataset.classes if c not in classes],
        )
    try:
        check_listed(paths.of(workdir), describe_data(dataset))
    except UserError as error:
        console.say(f"warning: {error}")
    chosen: Split | None = getattr(dataset, split)
    if chosen is None:
        raise UserError(
            f"{settings.data.source} has no {split} split",
            hint="A folder's is PATH/test, a CSV's the rows with split=test, idx's t10k-*.",
        )
    materials = _materials(settings, Dataset(classes, chosen, chosen), expected, console)
    probabilities = probabilities_of(materials, weights, tta, method)
    labels = materials.dataset.valid.labels
    right = probabilities.argmax(1) == labels
    by_class = {
        name: float(right[labels == index].mean())
        for index, name in enumerate(classes)
        if (labels == index).any()
    }
    picked = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-30)
    return {
        "split": split,
        "weights": which,
        "examples": len(labels),
        "tta": tta,
        "accuracy": float(right.mean()),
        "balanced_accuracy": sum(by_class.values()) / max(len(by_class), 1),
        "loss": float(-np.log(picked).mean()),
        "accuracy_by_class": by_class,
    }


def predict_files(
    workdir: str | AnyPath,
    files: Sequence[str],
    output: str | AnyPath,
    which: str = "best",
    tta: int = 0,
    method: str = "fastai07",
    console: Console | None = None,
    batch_size: int = 0,
) -> int:
    """Classify image files, or all images below folders, into a CSV.

    The CSV's columns are `file,label,p_CLASS...`: the predicted class, and the probability of
    every class. The data that the run was trained on is not needed.

    Returns:
      The number of files classified.

    Raises:
      UserError: what `restore` raises; paths that are not there; files that are no images; an
        output file that exists already.
    """
    console = console or Console(None)
    paths.demand(output, *files)
    output = paths.of(output)
    hosts.together(lambda: _check_output(output))
    settings, classes, expected = read_workdir(workdir)
    settings = in_batches(settings, batch_size)
    set_up(settings)
    weights = read_weights(workdir, which)
    split = files_split(hosts.together(lambda: image_files(files)))
    materials = _materials(settings, Dataset(classes, split, split), expected, console)
    probabilities = probabilities_of(materials, weights, tta, method)
    _write_csv(output, classes, materials.dataset.valid.names, probabilities)
    return len(probabilities)


def _check_output(output: AnyPath) -> None:
    if output.exists():
        raise UserError(f"{output} exists already", hint="Give another --output.")
    if not paths.is_remote(output) and not output.parent.is_dir():
        raise UserError(f"no such folder: {output.parent}", hint="Give another --output.")


@hosts.first_only
def _write_csv(
    output: AnyPath, classes: Sequence[str], names: Sequence[str], probabilities: np.ndarray
) -> None:
    with paths.open_new(output) as raw:
        file = io.TextIOWrapper(raw, newline="", encoding="utf-8", errors="surrogateescape")
        writer = csv.writer(file)
        writer.writerow(["file", "label", *(f"p_{name}" for name in classes)])
        for name, row in zip(names, probabilities, strict=True):
            writer.writerow([name, classes[row.argmax()], *(f"{p:.6f}" for p in row)])
        file.detach()  # flushed, and left to be closed by whoever opened it


def in_batches(settings: Settings, batch_size: int) -> Settings:
    """The settings with so many images at a time (0 = as they are); results stay the same."""
    data = replace(settings.data, batch_size=batch_size or settings.data.batch_size)
    return replace(settings, data=data)


def probabilities_of(
    materials: Materials, weights: Weights, tta: int, method: str
) -> Float[np.ndarray, "examples classes"]:
    """Probabilities of the validation split's examples, over `tta` random views and the plain one.

    The random views are those of the run's seed; the same call gives the same numbers.

    Raises:
      UserError: the device runs out of memory.
    """
    with shortage.told(materials.settings, "in inference", hint="", batch="--batch-size"):
        plain, *views = _views(materials, weights, tta)
    return combine(plain, views, method) if tta else plain


def _views(
    materials: Materials, weights: Weights, tta: int
) -> list[Float[np.ndarray, "examples classes"]]:
    """Probabilities by the plain view, and by each random one."""
    placed = sharding.replicate(weights, materials.mesh)
    found = materials.valid_images

    def view(number: int | None) -> np.ndarray:
        keyed = None
        if number is not None:
            keyed = View(materials.settings.seed, TTA_PHASE, number)
        what = "predicting" if number is None else f"view {number + 1} of {tta}"
        features = extraction.extract(materials, placed, found, what, keyed)
        return validate.score(materials, placed, features).probabilities

    return [view(number) for number in (None, *range(tta))]


def _materials(
    settings: Settings, dataset: Dataset, expected: Preprocessing, console: Console
) -> Materials:
    """Materials for inference on one split, which stands in both places of `dataset`."""
    mesh = sharding.data_mesh()
    whole = -(-settings.data.batch_size // mesh.size) * mesh.size  # divides over any devices
    settings = replace(settings, data=replace(settings.data, batch_size=whole))
    alone = Dataset(dataset.classes, dataset.valid.select([]), dataset.valid)
    alone, none, found = reading.read_images(settings, alone, console, advice=REMOVE)
    model = create_model(settings, len(dataset.classes), expected)
    size, exact = settings.data.image_size, settings.deterministic
    forward = make_forward(model, settings.augment, size, mesh, exact)
    cache = cache_directory(settings)
    return Materials(settings, mesh, model, forward, alone, none, found, cache, console)
