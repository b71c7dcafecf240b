"""Which score tells images of a kind that a run has never seen from those of its own classes.

    python bench/unknown.py --data=DIRECTORY [--out=DIRECTORY] [--runs=digits,stamps,...]
                            [--config.KEY=VALUE ...]

DIRECTORY is the folder `data` of `bench/proving_ground.py --data-only`. Trains `--config=folder`
at 64 px on each of three tasks (a run that is there is not made again) and scores its validation
images, which are known, beside images of tasks that are far from it (`far`). Trains each of the
three again without the class that is last in the alphabet, whose images are the unknown ones then
(`near`). Prints a JSON line for each run, unknown set and score, and the mean of every score:
AUROC (the chance that an unknown image scores higher than a known one) and the share of unknown
images that pass for known at the threshold that 95% of the known ones pass (`fpr95`).

Scores: maximum softmax probability (Hendrycks and Gimpel, 2017), energy (Liu et al., 2020), the
Mahalanobis distance to the nearest class (Lee et al., 2018) and the same less the distance to all
classes as one (Ren et al., 2021), the cosine distance to the k-th nearest training image (Sun et
al., 2022). All are of the body's pooled features or the head's logits, with the run's own weights.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxft import run
from jaxft.cli.config_file import load_config
from jaxft.data import Dataset
from jaxft.data.sources.files import files_split, image_files
from jaxft.devices import sharding
from jaxft.evaluation.probabilities import materials_of
from jaxft.evaluation.restore import read_weights, read_workdir
from jaxft.materials import extraction
from jaxft.runtime.console import Console
from jaxft.runtime.set_up import set_up

FAR = {
    "digits": ("garments", "scripts"),
    "garments": ("digits", "surfaces"),
    "stamps": ("surfaces", "counts"),
}
NEIGHBOURS = (1, 5, 10, 50)


class Seen(NamedTuple):
    """Images as a run sees them: features [examples, F], logits [examples, classes]."""

    features: np.ndarray
    logits: np.ndarray


class Reference(NamedTuple):
    """Features of the training images and their labels."""

    features: np.ndarray
    labels: np.ndarray


def less(folder: Path, left_out: str, out: Path) -> Path:
    """A copy of a data set without one class."""
    if not out.exists():
        shutil.copytree(folder, out, ignore=lambda *_: [left_out])
    return out


def train(workdir: Path, data: Path, flags: list[str]) -> None:
    """Train, unless the run is there."""
    fixed = [f"--config.data.source=folder:{data}", "--config.data.image_size=64"]
    run.train(load_config("folder", [*fixed, *flags]), workdir)


def see(workdir: Path, folders: list[Path]) -> tuple[Seen, list[str]]:
    """The images below folders as a run sees them, and their files."""
    settings, classes, expected = read_workdir(workdir)
    set_up(settings.cache_dir)
    files = image_files([str(folder) for folder in folders])
    split = files_split(files)
    materials = materials_of(settings, Dataset(classes, split, split), expected, Console(None))
    weights = read_weights(workdir, "best")
    placed = sharding.replicate(weights, materials.mesh)
    features = extraction.extract(materials, placed, materials.valid_images, "")
    logits = np.asarray(materials.model.classify(*weights, features)[0], np.float64)
    return Seen(features.astype(np.float64), logits), files


def scores(found: Seen, reference: Reference) -> Iterator[tuple[str, np.ndarray]]:
    """Every score of some images: the higher, the less they are like the training images."""
    highest = found.logits.max(1)
    total = highest + np.log(np.exp(found.logits - highest[:, None]).sum(1))
    yield "softmax", total - highest
    yield "energy", -total
    near, all_as_one = mahalanobis(found.features, reference)
    yield "Mahalanobis", near
    yield "relative Mahalanobis", near - all_as_one
    unit, others = (x / np.linalg.norm(x, axis=1)[:, None] for x in (found.features, reference[0]))
    apart = np.sort(1 - unit @ others.T, axis=1)
    for k in NEIGHBOURS:
        yield f"{k} neighbours" if k > 1 else "nearest neighbour", apart[:, k - 1]


def mahalanobis(features: np.ndarray, reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances to the nearest class mean and to the mean of all.

    By the covariance within classes, and by that of all. A thousandth of the mean variance is
    added, without which a covariance of fewer examples than features has no inverse.
    """
    known, labels = reference
    classes = np.unique(labels)
    means = np.stack([known[labels == one].mean(0) for one in classes])
    within = known - means[np.searchsorted(classes, labels)]
    near = np.min([squared(features - mean, within) for mean in means], axis=0)
    middle = known.mean(0)
    return near, squared(features - middle, known - middle)


def squared(apart: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Squared lengths by the inverse of the covariance of `spread`, whose mean is 0."""
    covariance = spread.T @ spread / len(spread)
    size = len(covariance)
    covariance += np.eye(size) * (1e-3 * np.trace(covariance) / size)
    return np.einsum("ij,ji->i", apart, np.linalg.solve(covariance, apart.T))


def told_apart(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """AUROC, ties counted half, and the share of unknown ones below 95% of the known."""
    known = np.sort(known)
    below = np.searchsorted(known, unknown, "left") + np.searchsorted(known, unknown, "right")
    passed = unknown <= np.quantile(known, 0.95, method="higher")
    return {"auroc": float(below.mean() / 2 / len(known)), "fpr95": float(passed.mean())}


def measure(workdir: Path, data: Path, unknown: dict[str, list[Path]]) -> Iterator[dict]:
    """A line for each unknown set and score."""
    train_seen, files = see(workdir, [data / "train"])
    labels = np.array([Path(file).parent.name for file in files])
    reference = Reference(train_seen.features, labels)
    known = dict(scores(see(workdir, [data / "valid"])[0], reference))
    for name, folders in unknown.items():
        for score, values in scores(see(workdir, folders)[0], reference):
            told = told_apart(known[score], values)
            rounded = {key: round(value, 4) for key, value in told.items()}
            yield {"run": workdir.name, "unknown": name, "score": score, **rounded}


def run_all() -> None:
    """Read the flags, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/unknown"))
    parser.add_argument("--runs", default=",".join(FAR))
    options, flags = parser.parse_known_args()
    lines: list[tuple[str, dict]] = []
    for name in options.runs.split(","):
        data = options.data / name
        last = sorted(place.name for place in (data / "train").iterdir())[-1]
        fewer = less(data, last, options.out / "data" / f"{name}_less_{last}")
        far = {other: [options.data / other / "valid"] for other in FAR[name]}
        near = {last: [data / split / last for split in ("train", "valid")]}
        for kind, place, unknown in (("far", data, far), ("near", fewer, near)):
            train(options.out / place.name, place, flags)
            for line in measure(options.out / place.name, place, unknown):
                lines.append((kind, line))
                print(json.dumps({"bench": "unknown", "kind": kind, **line}), flush=True)
    for score in dict.fromkeys(line["score"] for _, line in lines):
        told = {"bench": "unknown", "score": score}
        for kind in ("far", "near"):
            chosen = [line for one, line in lines if one == kind and line["score"] == score]
            for key in ("auroc", "fpr95"):
                told[f"{kind}_{key}"] = round(float(np.mean([line[key] for line in chosen])), 4)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    run_all()
