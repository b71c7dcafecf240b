"""Shards of a data set in preparation: their number, names and images."""

import math
import os
import re
from pathlib import Path

from jaxft.data import Split
from jaxft.data.prepare import tfds_metadata
from jaxft.data.prepare.aside import DATA, NOTES
from jaxft.data.prepare.job import Form, Job

# Enough shards for many workers and a restart that loses little, and no more than a process can
# hold open.
MANY_SHARDS, MOST_SHARDS = 64, 512
FEWEST_IMAGES, ENOUGH_IMAGES = 64, 2048


def dataset_name(place: Path) -> str:
    """TFDS's name of a data set: letters, digits and underscores; of .../NAME/1.0.0, too."""
    name = place.parent.name if re.fullmatch(r"\d+\.\d+\.\d+", place.name) else place.name
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"images_{plain}".rstrip("_")


def images_a_shard(total: int) -> int:
    """Number of images in one file of a data set of `total`, whatever the number of workers."""
    enough = max(FEWEST_IMAGES, min(ENOUGH_IMAGES, math.ceil(total / MANY_SHARDS)))
    return max(enough, math.ceil(total / MOST_SHARDS))


def jobs_of(
    aside: Path, dataset: str, splits: dict[str, Split], base: str, classes: int, form: Form
) -> list[tuple[str, Job]]:
    """The shards to make, each with its split."""
    each = images_a_shard(sum(len(split) for split in splits.values()))
    jobs = []
    for name, split in splits.items():
        count = math.ceil(len(split) / each)
        shards = tfds_metadata.shard_paths(aside / DATA, dataset, name, count)
        for number, path in enumerate(shards):
            files = split.names[number * each : (number + 1) * each]
            job = Job(
                path,
                os.fspath(aside / NOTES / f"{Path(path).name}.json"),
                files,
                tuple(file.removeprefix(f"{base}/") for file in files),
                tuple(split.labels[number * each : (number + 1) * each].tolist()),
                classes,
                form,
            )
            jobs.append((name, job))
    return jobs
