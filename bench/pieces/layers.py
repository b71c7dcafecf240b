"""The shapes of a network's convolutions, and the work in one of them, counted as written."""

from collections.abc import Iterable
from typing import NamedTuple

BF16 = 2  # bytes


class Layer(NamedTuple):
    """A convolution of square images, padded by half its kernel on each side."""

    pixels: int
    inputs: int
    outputs: int
    size: int
    stride: int
    groups: int

    @property
    def out_pixels(self) -> int:
        """Pixels of a side of what comes out."""
        return -(-self.pixels // self.stride)

    @property
    def name(self) -> str:
        """For a line: pixels, channels, kernel, stride."""
        channels = f"{self.inputs}" if self.inputs == self.outputs else self.arrow
        return f"{self.pixels} px, {channels}, {self.size}x{self.size}/{self.stride}"

    @property
    def arrow(self) -> str:
        """Channels that go in and come out."""
        return f"{self.inputs}>{self.outputs}"

    def flop(self, batch: int) -> float:
        """Operations of the forward pass, or of either gradient; two a product."""
        products = self.size**2 * self.inputs // self.groups * self.outputs
        return 2.0 * batch * self.out_pixels**2 * products

    def moved(self, batch: int) -> float:
        """Bytes of input, kernel and output in bfloat16, each once: either gradient's, too."""
        numbers = batch * self.pixels**2 * self.inputs + batch * self.out_pixels**2 * self.outputs
        return BF16 * (numbers + self.size**2 * self.inputs // self.groups * self.outputs)


class Counted(NamedTuple):
    """A layer, and how often the network has it."""

    layer: Layer
    count: int


def grouped(found: Iterable[Counted]) -> list[Counted]:
    """The 3x3 convolutions in several groups; those of which there are most first."""
    chosen = [c for c in found if c.layer.groups > 1]
    return sorted(chosen, key=lambda c: (-c.count, c.layer))


def pointwise(found: Iterable[Counted]) -> list[Counted]:
    """The 1x1 convolutions, those that take most operations first."""
    chosen = [c for c in found if c.layer.size == 1]
    return sorted(chosen, key=lambda c: (-c.count * c.layer.flop(1), c.layer))


def stem(found: Iterable[Counted]) -> Counted:
    """The convolution of the image itself."""
    return next(c for c in found if c.layer.inputs == 3)


def flop(found: Iterable[Counted], batch: int) -> float:
    """Operations of all convolutions, forward."""
    return sum(c.count * c.layer.flop(batch) for c in found)


def moved(found: Iterable[Counted], batch: int) -> float:
    """Bytes of all convolutions, forward."""
    return sum(c.count * c.layer.moved(batch) for c in found)
