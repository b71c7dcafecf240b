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
from jaxft.workdir import checkpoint, same_config
from jaxft.workdir.rows import write_json


def describe(workdir: AnyPath, config: Any, materials: Materials) -> None:
    """Write the files that describe a run: config, classes, data, preprocessing, weights.

    Raises:
      UserError: the workdir holds checkpoints of a run on other data; nothing is written.
    """
    data = describe_data(materials.dataset)
    if checkpoint.steps(workdir):
        check_data(workdir, data)
    about = {
        "source": place.absolute(materials.settings.data.source),
        "listed": dict(materials.listed),
        "train_sample": leakage.sample(materials.dataset),
    }
    write_json(workdir / "data.json", {**data, **about})
    write_json(workdir / "config.json", as_dict(config))
    write_json(workdir / "classes.json", list(materials.dataset.classes))
    used = preprocessing_of(materials.settings, materials.model)
    write_json(workdir / RUN_FILE, used._asdict())
    write_json(workdir / "weights.json", materials.origin)


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
    _compare(workdir, same_config.read_json(workdir / "data.json"), data)


def check_listed(workdir: AnyPath, data: dict[str, Any]) -> None:
    """As `check_data`, for data that still include unreadable images."""
    before = same_config.read_json(workdir / "data.json")
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
