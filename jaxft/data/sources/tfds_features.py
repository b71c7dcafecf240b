"""The features of a TFDS data set that hold the image and the label."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxft.data.images.unreadable import UnreadableImage


@dataclass(frozen=True)
class ImageField:
    """Feature that holds the image of a record.

    Attributes:
      name: of the feature.
      encoding: "file" (a whole JPEG or PNG file), or that of an array of uint8: "none" (numbers),
        "bytes" or "zlib".
      shape: of such an array, None where it varies.
    """

    name: str
    encoding: str
    shape: tuple[int | None, ...]

    def pixels(self, features: Any, max_pixels: int) -> np.ndarray:
        """An array's pixels, uint8 [height, width, 3]; not to be written into.

        Raises:
          IndexError, ValueError, zlib.error: it is damaged, or has more pixels.
        """
        varies = self.shape.count(None) > 1
        value = features[f"{self.name}/value" if varies else self.name]
        if self.encoding == "none":
            flat = np.asarray(value.int64_list.value, np.uint8)
        else:
            data = value.bytes_list.value[0]
            flat = np.frombuffer(self._unpacked(data, 3 * max_pixels), np.uint8)
        shape: Sequence[int] = [-1 if size is None else size for size in self.shape]
        if varies:
            shape = list(features[f"{self.name}/shape"].int64_list.value)
        pixels = flat.reshape(shape)
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels

    def _unpacked(self, data: bytes, most: int) -> bytes:
        if self.encoding != "zlib":
            return data
        stream = zlib.decompressobj()
        unpacked = stream.decompress(data, most + 1)
        if not stream.eof:
            raise ValueError(f"it is truncated, or unpacks to more than {most:,} bytes")
        return unpacked


class LabelField(NamedTuple):
    """Feature that holds the label of a record, and the names of its numbers."""

    name: str
    classes: tuple[str, ...]


def candidates(info: Any) -> tuple[list[ImageField], list[LabelField]]:
    """The features that may be the image, and those that may be the label.

    One of each, where the data set's supervised_keys name them.
    """
    from tensorflow_datasets.core import features as kinds

    features = dict(info.features) if isinstance(info.features, kinds.FeaturesDict) else {}
    features = dict(sorted(features.items()))  # TFDS has them in any order
    images = [field for name, kind in features.items() if (field := _image_field(name, kind))]
    labels = [
        LabelField(name, tuple(kind.names))
        for name, kind in features.items()
        if isinstance(kind, kinds.ClassLabel) and kind.num_classes
    ]
    named = info.supervised_keys or ()
    return (
        [field for field in images if field.name in named] or images,
        [field for field in labels if field.name in named] or labels,
    )


def _image_field(name: str, kind: Any) -> ImageField | None:
    from tensorflow_datasets.core import features as kinds

    # Their subclasses are something else: masks, boxes, text.
    if type(kind) is kinds.Image and kind.np_dtype in (np.uint8, np.uint16):
        return ImageField(name, "file", kind.shape)
    if type(kind) is kinds.Tensor and kind.np_dtype == np.uint8 and len(kind.shape) == 3:
        stored = kind.to_json_content().encoding
        return ImageField(name, stored, kind.shape) if kind.shape[-1] in (1, 3) else None
    return None


def problems(what: str, kind: str, found: Sequence[ImageField | LabelField]) -> Iterator[str]:
    """Yield a problem where a data set does not have exactly one such feature."""
    if not found:
        yield f"none of its features is {kind}"
    elif len(found) > 1:
        names = ", ".join(field.name for field in found)
        yield f"which feature is the {what}: {names}? Its supervised_keys do not say"


def features_of(source: Any, index: int, name: str) -> Any:
    """The features of a record by name.

    Raises:
      UnreadableImage: it is damaged, by array_record's own checksums.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return tf_example_pb2.Example.FromString(source[index]).features.feature
    except (RuntimeError, OSError, ValueError) as error:
        raise UnreadableImage(name, " ".join(str(error).split())) from None
