"""Images of a split, resized once and kept in memory while there is room."""

import threading
from typing import Any

import numpy as np

from jaxft.data import Split
from jaxft.data.images.resize import crop
from jaxft.data.images.sizing import Sizing


class Memory:
    """Bytes that the images of several splits share."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Set `size` bytes aside; False, and nothing taken, where they are not there."""
        with self._lock:
            fits = size <= self._free
            self._free -= size * fits
            return fits

    @property
    def full(self) -> bool:
        """True where no byte is left."""
        return self._free <= 0

    def close(self) -> None:
        """Give the rest away, so that nothing that comes later squeezes in by luck."""
        with self._lock:
            self._free = 0


class Images:
    """A split's images with their shorter side resized: `len(images)`, `images[i]`.

    Each is decoded once and kept while the memory lasts, then decoded whenever asked for.
    `images[i]` is uint8 [height, width, 3], min(height, width) == shorter_side (a square, unless
    they are to be cropped); it may be shared: do not write into it. Raises UnreadableImage. Safe to
    read from several threads.
    """

    def __init__(self, split: Split, sizing: Sizing, memory: Memory | None = None) -> None:
        self.split = split
        self.sizing = sizing
        self._memory = memory or Memory(0)
        self._kept: list[np.ndarray | None] = [None] * len(split)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which decodes on its own: without the images in memory."""
        return type(self), (self.split, self.sizing)

    @property
    def shorter_side(self) -> int:
        """The shorter side of each image, pixels."""
        assert self.sizing.shorter_side is not None
        return self.sizing.shorter_side

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> np.ndarray:
        kept = self._kept[index]
        return self._read(index) if kept is None else kept

    def canvas(self, index: int, share: float = 0.5) -> np.ndarray:
        """resize.crop(images[index], shorter_side, share)."""
        if self._kept[index] is None and self.memory_full:
            return self.split.read(index, self.sizing, share)
        return crop(self[index], self.shorter_side, share)

    @property
    def memory_full(self) -> bool:
        """True where no further image is kept."""
        return self._memory.full

    @property
    def in_memory(self) -> bool:
        """True where no image needs the disk any more."""
        return all(kept is not None for kept in self._kept)

    def forget(self) -> None:
        """Drop the images in memory; from now on every image is decoded when asked for."""
        self._memory = Memory(0)
        self._kept = [None] * len(self)

    def _read(self, index: int) -> np.ndarray:
        image = self.split.read(index, self.sizing)
        if not self.memory_full:
            if self._memory.take(image.nbytes):
                self._kept[index] = image
            else:
                self._memory.close()
        return image

    def select(self, indices: np.ndarray) -> "Images":
        """The images at `indices`; those in memory stay there."""
        chosen = Images(self.split.select(indices), self.sizing, self._memory)
        chosen._kept = [self._kept[i] for i in indices]
        return chosen
