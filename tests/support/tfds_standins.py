"""Data sets of TFDS as its own builders make them, with drawn photos in place of the downloads.

    python tests/support/tfds_standins.py NAME DIRECTORY

prepares one in a data directory, of which TFDS_DATA_DIR then tells jaxft.
"""

import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as library
from PIL import Image

PER_CLASS = {"train": 4, "validation": 2, "test": 1}
SPLITS = {
    "oxford_flowers102": ("train", "validation", "test"),
    "oxford_iiit_pet": ("train", "test"),
}


def photo(label: int, number: int) -> np.ndarray:
    """Pixels whose colour tells their class."""
    random = np.random.default_rng(1000 * label + number)
    colour = np.random.default_rng(label).integers(30, 226, 3)
    return (colour + random.normal(0, 20, (40, 48, 3))).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """Content of a file of that kind."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def example(features: Any, label: int, number: int) -> dict[str, Any]:
    """One for the features that the two sets have."""
    pixels = photo(label, number)
    made = {"file_name": f"{number}.jpg", "image": encoded(pixels, "JPEG"), "label": label}
    others = {
        "species": label % 2,
        "segmentation_mask": encoded(pixels[..., 0], "PNG"),
        "head_bbox": library.features.BBox(0.0, 0.0, 1.0, 1.0),
    }
    return made | {name: value for name, value in others.items() if name in features}


def prepare(name: str, directory: str) -> None:
    """Has the builder of that name make its set of drawn photos."""
    builder = library.builder(name, data_dir=directory, file_format="array_record")
    features = builder.info.features

    def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for label in range(features["label"].num_classes):
            for number in range(PER_CLASS[split]):
                yield f"{label}/{number}", example(features, label, number)

    kind: Any = type(builder)
    kind.url_infos = {}  # nothing is downloaded
    splits = {split: examples(split) for split in SPLITS[name]}
    kind._split_generators = lambda *_: splits
    builder.download_and_prepare()


if __name__ == "__main__":
    prepare(*sys.argv[1:])
