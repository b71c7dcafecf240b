"""Records of a run's identity in its workdir, and checks against them."""

import hashlib
from collections.abc import Mapping
from typing import Any

from jaxft.config.plain import as_dict
from jaxft.config.settings import Settings
from jaxft.data import Dataset, leakage
from jaxft.data.sources import place
from jaxft.errors import UserError
from jaxft.materials.materials import Materials
from jaxft.models.body import Preprocessing
from jaxft.models.model import Model
from jaxft.models.weights.preprocessing import RUN_FILE
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import checkpoint, seal
from jaxft.workdir.config_keys import differences
from jaxft.workdir.rows import read_json, read_object, write_document, write_json


def describe(workdir: AnyPath, config: Any, materials: Materials) -> dict[str, Any]:
    """Write the files that describe a run: config, classes, data, preprocessing, weights.

    Those of a run that has begun are as they were when it began, and are written anew where they
    were changed since.

    Returns:
      The files' contents by their names, but for the data's, for the run's checkpoints.

    Raises:
      UserError: the workdir holds checkpoints of a run on other data, or whose weights expect other
        images; nothing is written.
    """
    data = describe_data(materials.dataset)
    sealed = {
        seal.CONFIG: as_dict(config),
        seal.CLASSES: list(materials.dataset.classes),
        RUN_FILE: preprocessing_of(materials.settings, materials.model)._asdict(),
        seal.WEIGHTS: dict(materials.origin),
    }
    if checkpoint.steps(workdir):
        check_data(workdir, data)
        check_preprocessing(workdir, sealed[RUN_FILE])
        sealed[seal.WEIGHTS] = weights_begun_with(workdir, materials)
        for one in seal.broken(workdir).values():
            for line in one.lines:
                materials.console.tell(f"warning: {line}; it is written anew")
    about = {
        "source": place.absolute(materials.settings.data.source),
        "listed": dict(materials.listed),
        "train_sample": leakage.sample(materials.dataset),
    }
    write_document(workdir / "data.json", {**data, **about})
    for name, content in sealed.items():
        write_json(workdir / name, content)
    return sealed


def check_preprocessing(workdir: AnyPath, used: dict[str, Any]) -> None:
    """Raise UserError if a run's weights expected other images when it began than they do now."""
    began = seal.began(workdir, RUN_FILE) or read_object(workdir / RUN_FILE) or {}
    now = {key: used[key] for key in began if key in used}  # some keys came later
    if lines := list(differences(began, now, "then").values()):
        raise UserError(
            f"The preprocessing of the weights has changed since the run in {workdir} began:",
            lines,
            "Put back the file that states it (config.json beside the weights), or start another "
            "run (config.init_from takes this one's weights).",
        )


def weights_begun_with(workdir: AnyPath, materials: Materials) -> dict[str, Any]:
    """Return the origin of the weights that a run began with, and tell if it is another by now.

    A run that goes on has its own.
    """
    began = seal.began(workdir, seal.WEIGHTS) or read_object(workdir / seal.WEIGHTS)
    if not began:
        return dict(materials.origin)
    if lines := other_weights(began, materials.origin):
        told = f"warning: the initial weights have changed since the run began ({lines[0]})"
        materials.console.tell(f"{told}; it goes on with its own")
    return {**materials.origin, **began}


def demand_first_weights(workdir: AnyPath, materials: Materials) -> None:
    """Raise UserError if a run that begins again would do so from other weights than at first."""
    began = seal.began(workdir, seal.WEIGHTS) or {}
    if lines := other_weights(began, materials.origin):
        raise UserError(
            f"The initial weights have changed since the run in {workdir} began:",
            lines,
            "It has to begin again, which it can't from others. Put them back, or choose another "
            "--workdir.",
        )


def other_weights(began: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say if weights are others than those that a run began with, [] if they are the same."""
    return [
        f"{key}: {began[key]} then, {now.get(key)} now"
        for key in ("sha256", "digest")
        if key in began and began[key] != now.get(key)
    ]


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Facts that tell one data set from another: classes, numbers, a digest of names and labels."""
    total = hashlib.sha256()
    for split in (dataset.train, dataset.valid):
        for name, label in zip(split.names, split.labels, strict=True):
            total.update(f"{label} {name}\n".encode(errors="surrogateescape"))
        total.update(b"\n")
    return {
        "classes": list(dataset.classes),
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "digest": total.hexdigest(),
    }


def check_data(workdir: AnyPath, data: dict[str, Any]) -> None:
    """Raise UserError, naming the differences, if the data are not those of the run."""
    _compare(workdir, read_json(workdir / "data.json"), data)


def check_listed(workdir: AnyPath, data: dict[str, Any]) -> None:
    """As `check_data`, for data that still include unreadable images."""
    before = read_json(workdir / "data.json")
    _compare(workdir, before.get("listed", before), data)


def _compare(workdir: AnyPath, before: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    differences = [
        f"{key}: {before.get(key)} then, {data[key]} now"
        for key in ("classes", "train", "valid", "digest")
        if before.get(key) != data[key]
    ]
    if differences:
        raise UserError(
            f"The data have changed since the run in {workdir} began:",
            differences,
            "Restore the files, or start another run (config.init_from takes this one's weights).",
        )


def preprocessing_of(settings: Settings, model: Model) -> Preprocessing:
    """Preprocessing of a run's images: what its own weights expect."""
    return model.preprocessing._replace(
        image_size=settings.phases[-1].image_size,
        crop_fraction=1.0,
        interpolation=settings.data.interpolation,
        fit=settings.data.fit,
    )
