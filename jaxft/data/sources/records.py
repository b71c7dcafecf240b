"""Records of a data set, and the images in them."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxft.data.images.decode import decode_bytes
from jaxft.data.images.resize import crop, resize
from jaxft.data.images.sizing import OWN_SIZE, Sizing
from jaxft.data.images.unreadable import UnreadableImage
from jaxft.data.sources.tfds_features import ImageField, features_of


@dataclass(frozen=True)
class Records:
    """Reads the images of one split; may go to another process, and be used by many threads.

    Attributes:
      source: index -> the bytes of a record.
      names: of the examples, for people.
      image: feature that holds the image.
    """

    source: Any
    names: tuple[str, ...]
    image: ImageField

    def __call__(
        self, index: int, sizing: Sizing = OWN_SIZE, share: float | None = None
    ) -> np.ndarray:
        """As data.Split.read."""
        name = self.names[index]
        features = features_of(self.source, index, name)
        try:
            if self.image.encoding == "file":
                data = features[self.image.name].bytes_list.value[0]
                return decode_bytes(data, name, sizing, share)
            pixels = self.image.pixels(features, sizing.max_pixels)
        except (IndexError, ValueError, zlib.error) as error:
            raise UnreadableImage(name, f"no image in its record: {error}") from None
        side = min(pixels.shape[:2])
        if side == sizing.shorter_side and sizing.fit == "crop":
            return pixels if share is None else crop(pixels, side, share)
        return resize(pixels, sizing, share)
