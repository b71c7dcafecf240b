"""Opening of everything that a run needs, with all checks, before anything is written."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxft.config.phase import path_of
from jaxft.config.settings import Settings
from jaxft.data import Dataset, balance, leakage
from jaxft.data.sources.left_out import left_out_in_words
from jaxft.devices import sharding
from jaxft.errors import UserError, in_a_line
from jaxft.features.inference import make_forward
from jaxft.materials import reading
from jaxft.materials.data import open_data
from jaxft.materials.identity import describe_data
from jaxft.materials.materials import NEVER, Materials
from jaxft.materials.model import open_model
from jaxft.models.variables import Weights
from jaxft.models.weights import pretrained
from jaxft.runtime import digests, hosts, paths
from jaxft.runtime.ballot import Stop
from jaxft.runtime.console import Console
from jaxft.runtime.folders import cache_directory
from jaxft.workdir.rows import parse

# Of the images that a run was trained on; fewer have the same name and class by chance.
SHARE_WORTH_TELLING = 0.05


def prepare(
    settings: Settings, console: Console, stop: Stop = NEVER, phase: int = 0
) -> tuple[Materials, Weights]:
    """Open and check everything that a run needs, before anything is written to a workdir.

    Args:
      settings: of the run.
      console: gets the progress.
      stop: set from outside, to end this.
      phase: index of the phase whose images are read.

    Raises:
      UserError: mistakes in data, model, weights or batch size.
    """
    image_size, data = settings.phases[phase].image_size, settings.data
    dataset = hosts.together(lambda: open_data(settings))
    mesh = sharding.data_mesh()
    model, initial, origin = hosts.together(lambda: open_model(settings, dataset.classes))
    listed = describe_data(dataset)
    check_same(listed, initial)
    if told := validated_before(settings, dataset):
        console.tell(told)
    check_batch_size(settings, len(dataset.train), mesh.size)
    cache = cache_directory(settings.cache_dir)
    dataset, train, valid = reading.read_images(settings, image_size, dataset, console, cache, stop)
    check_batch_size(settings, len(dataset.train), mesh.size)
    console.tell(
        f"{len(dataset.train)} training and {len(dataset.valid)} validation images in "
        f"{len(dataset.classes)} classes, at {image_size} px, {data.interpolation}"
        f"{'' if data.fit == 'crop' else f', {data.fit}'}; "
        f"{settings.model.name} on {mesh.size} "
        f"{jax.devices()[0].platform} device{'s' if mesh.size > 1 else ''}"
        + (f" of {hosts.count()} processes" if hosts.count() > 1 else "")
    )
    if balance.is_skewed(dataset.train.labels):
        labels, classes = dataset.train.labels, [*map(in_a_line, dataset.classes)]
        console.tell(balance.in_words(labels, classes, settings.data.balance))
    for told in (left_out_in_words(dataset), pretrained.in_words(origin)):
        if told:
            console.tell(told)
    forward = make_forward(model, settings.augment, image_size, mesh, settings.deterministic)
    materials = Materials(
        settings,
        image_size,
        mesh,
        model,
        forward,
        dataset,
        train,
        valid,
        cache,
        console,
        stop,
        origin,
        listed,
    )
    return materials, initial


def check_same(data: Mapping[str, Any], initial: Weights) -> None:
    """Raise UserError if processes see different data, or start from different weights."""
    if hosts.count() == 1:
        return
    weights = digests.digest(initial._asdict())
    hosts.demand_same({**data, "weights": weights}, "The processes do not see the same files:")


def validated_before(settings: Settings, dataset: Dataset) -> str:
    """A warning if a run starts from weights that were trained on validation images, or "".

    That happens if images were added to a data set, so that others are held out.
    """
    if not settings.init_from:
        return ""
    try:
        about = parse(paths.read(paths.of(settings.init_from) / "data.json"))
        taken = [str(digest) for digest in about["train_sample"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""  # a run that left no sample
    share = leakage.share_validating(taken, dataset)
    if share < SHARE_WORTH_TELLING:
        return ""
    return (
        f"warning: about {share:.0%} of the images that {settings.init_from} was trained on are "
        "validation images now, and this run starts from its weights: accuracy will be too high"
    )


def check_batch_size(settings: Settings, examples: int, devices: int) -> None:
    """Raise UserError if a batch cannot be made or divided."""
    problems, batch_size = [], settings.data.batch_size
    for index, phase in enumerate(settings.phases):
        if phase.microbatches > 1 and batch_size % (devices * phase.microbatches):
            problems.append(
                f"config.{path_of(settings.phases, index)}.microbatches={phase.microbatches}: a "
                f"batch of {batch_size} cannot be divided by it on {devices} devices"
            )
    mixing = [p for p in settings.phases if settings.augment.mixes and p.inputs == "augmented"]
    for phase in mixing:
        if batch_size % (2 * devices * phase.microbatches):
            problems.append(
                f"config.augment.mixup_alpha, cutmix_alpha: in {phase.name} each of {devices} "
                f"devices would hold an odd number of the batch's {batch_size} images"
                + (f" in each of {phase.microbatches} parts" if phase.microbatches > 1 else "")
            )
    if batch_size % devices:
        problems.append(
            f"config.data.batch_size={batch_size} is not a multiple of {devices} devices"
        )
    if batch_size > examples:
        problems.append(
            f"config.data.batch_size={batch_size} is more than the {examples} training images"
        )
    if problems:
        raise UserError("The batch size does not fit:", problems)
