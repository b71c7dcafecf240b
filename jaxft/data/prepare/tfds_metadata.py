"""TFDS's description of a prepared data set: features.json, dataset_info.json, class names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "1.0.0"


def features(classes: int, image_format: str) -> Any:
    """A record's features, named as in TFDS's own image folders; `image` raw or a JPEG."""
    from tensorflow_datasets.core import features as kinds

    pixels = (
        kinds.Image(shape=(None, None, 3), encoding_format="jpeg")
        if image_format == "jpeg"
        else kinds.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="bytes")
    )
    return kinds.FeaturesDict(
        {
            "image": pixels,
            "image/filename": kinds.Text(),
            "label": kinds.ClassLabel(num_classes=classes),
        }
    )


def shard_paths(folder: Path, dataset: str, split: str, count: int) -> list[str]:
    """TFDS's names of a split's files."""
    from tensorflow_datasets.core import naming

    template = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name=dataset, split=split, filetype_suffix="array_record"
    )
    return [str(path) for path in template.sharded_filepaths(count)]


def write(
    folder: Path,
    image_format: str,
    classes: Sequence[str],
    lengths: Mapping[str, Sequence[int]],
    sizes: Mapping[str, int],
    about: str,
) -> None:
    """Write the description beside the shards.

    Args:
      lengths: by split, the number of records in each shard.
      sizes: by split, the bytes of all shards.
      about: for a person.
    """
    from tensorflow_datasets.core import folder_dataset, naming
    from tensorflow_datasets.core import splits as splits_lib

    described = features(len(classes), image_format)
    described["label"].names = [as_line(name) for name in classes]
    template = naming.ShardedFileTemplate(data_dir=folder)
    folder_dataset.write_metadata(
        data_dir=folder,
        features=described,
        split_infos=[
            splits_lib.SplitInfo(
                name=name,
                shard_lengths=list(lengths[name]),
                num_bytes=sizes[name],
                filename_template=template,
            )
            for name in lengths
        ],
        version=VERSION,
        filename_template=template,
        check_data=False,  # which would take TensorFlow
        description=about,
        supervised_keys=("image", "label"),
    )


def as_line(name: str) -> str:
    """A class name for TFDS's list, a file of lines without blanks around them.

    A name that would not come back as it was is quoted, as Python does it.
    """
    in_utf8 = name.encode(errors="replace").decode()
    plain = name == in_utf8.strip() and not set(name) & set("\r\n")
    return name if plain else repr(name)
