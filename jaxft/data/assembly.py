"""Assembly of batches from parts that threads or processes make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxft.data import Batch
from jaxft.data.images.memory import Images
from jaxft.data.places import Places


@dataclass(frozen=True)
class Assembler:
    """Assembles part number `parts * n + p`, the p-th part of batch n."""

    images: Images
    labels: np.ndarray
    canvas: int
    places: Places
    parts: int

    def __call__(self, number: int) -> Batch:
        batch, part = divmod(number, self.parts)
        indices, shares = self.places(batch)
        size = -(-len(indices) // self.parts)
        here = slice(part * size, (part + 1) * size)
        return self._part(indices[here], shares[here])

    def _part(self, indices: np.ndarray, shares: np.ndarray) -> Batch:
        mask = indices < len(self.images)
        indices = np.where(mask, indices, 0).astype(np.int32)
        image = np.zeros((len(indices), self.canvas, self.canvas, 3), np.uint8)
        for slot in np.flatnonzero(mask).tolist():
            image[slot] = self._canvas(int(indices[slot]), float(shares[slot]))
        labels = np.where(mask, self.labels[indices], 0).astype(np.int32)
        return Batch(image, labels, indices, mask)

    def _canvas(self, index: int, share: float) -> np.ndarray:
        try:
            return self.images.canvas(index, share)
        except Exception as error:
            error.add_note(f"while reading {self.images.split.names[index]}")
            raise


def join(parts: Sequence[Batch]) -> Batch:
    """A batch from its parts."""
    if len(parts) == 1:
        return parts[0]
    return Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
