"""The family's table: blocks, groups and widths of every ResNet and ResNeXt."""

from typing import NamedTuple


class Architecture(NamedTuple):
    """A row of the family's table: blocks in each of the four layers, and their kind.

    `conv`, the lowering of the grouped convolutions, is no part of the mathematics.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    conv: str = "auto"

    @property
    def expansion(self) -> int:
        """Channels that leave a block, over the layer's nominal width."""
        return 4 if self.bottleneck else 1


ARCHITECTURES = {
    "resnet18": Architecture((2, 2, 2, 2), bottleneck=False),
    "resnet34": Architecture((3, 4, 6, 3), bottleneck=False),
    "resnet50": Architecture((3, 4, 6, 3)),
    "resnet101": Architecture((3, 4, 23, 3)),
    "resnet152": Architecture((3, 8, 36, 3)),
    "resnext50_32x4d": Architecture((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x4d": Architecture((3, 4, 23, 3), groups=32, group_width=4),
    "resnext101_32x8d": Architecture((3, 4, 23, 3), groups=32, group_width=8),
    "resnext101_64x4d": Architecture((3, 4, 23, 3), groups=64, group_width=4),
}
WIDTHS = (64, 128, 256, 512)
