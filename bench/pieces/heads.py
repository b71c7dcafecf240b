"""The heads that are trained on cached features: how many examples, how large, which batches."""

from typing import NamedTuple

from pieces.setting import Setting


class Head(NamedTuple):
    """features -> hidden -> classes, trained on so many examples; `model` has features as long."""

    examples: int
    batch: int
    features: int
    hidden: int
    classes: int
    model: str

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.examples // self.batch

    @property
    def flop(self) -> float:
        """Operations of an epoch's matrix products, forward and both gradients."""
        products = self.features * self.hidden + self.hidden * self.classes
        return 6.0 * self.steps * self.batch * products

    @property
    def moved(self) -> float:
        """Bytes of an epoch: the features once, and in each step weights, gradients, momentum.

        Weights are read forward and back, and read and written by the optimizer; so is momentum;
        gradients are written and read.
        """
        numbers = self.features * self.hidden + self.hidden * self.classes
        return 4.0 * (self.steps * self.batch * self.features + self.steps * 8 * numbers)

    @property
    def shape(self) -> str:
        """For a line."""
        sizes = f"{self.features}-{self.hidden}-{self.classes}"
        return f"{self.examples} x {sizes}, batch {self.batch}"


def heads(setting: Setting) -> tuple[Head, ...]:
    """The quickstart's, and the furniture card's on all of its photos."""
    if setting.tiny:
        return (Head(16, 4, 2560, 8, 3, "efficientnet_lite0"),)
    return (
        Head(4096, 64, 2560, 512, 10, "efficientnet_lite0"),
        Head(180_000, 512, 4096, 512, 128, "resnext101_64x4d"),
    )
