"""Padding, and the places of a kernel that meet nothing else."""

from collections.abc import Sequence

from jaxft.models.conv.native import Kernel, Pads


def without_idle_places(
    kernel: Kernel, image: Sequence[int], stride: int, pads: Pads
) -> tuple[Kernel, Pads]:
    """Trim the outer rows and columns of a kernel that meet nothing but padding, and its pads.

    `image` is (height, width). Of images of 2 x 2 pixels 16 of the 25 places of a 5x5 kernel are
    idle.
    """
    kept, rest = [], []
    for size, length, (low, high) in zip(kernel.shape[:2], image, pads, strict=True):
        last = (length + low + high - size) // stride * stride - low  # where the last window begins
        busy = [i for i in range(size) if i < length + low and last + i >= 0] or [0]
        kept.append(slice(busy[0], busy[-1] + 1))
        rest.append((low - busy[0], high - (size - 1 - busy[-1])))
    return kernel[kept[0], kept[1]], tuple(rest)
