"""Figures of one timed program, and the ratios that follow from them."""

from dataclasses import dataclass

import numpy as np

from jaxft.costs import costs
from jaxft.costs.costs import Costs
from jaxft.devices.chips import Chip


@dataclass(frozen=True)
class Figures:
    """Speed and costs of one program.

    `phases` run it; a repeat takes it through `steps` steps of `images`, over all `devices`.
    `image_size` is in pixels. `input_wait` is the share of the time spent waiting for images, None
    where none are read. `costs` are of one step on one device, except for their memory, which is
    that of the whole program; `model_flops` leave out operations that a lowering adds to be faster.
    `peak_bytes` is the most that any device of this process has used since the process began, of
    the `pool_bytes` that JAX may use there. `chip` has the peaks. A figure that is not known is
    None.
    """

    program: str
    phases: tuple[str, ...]
    images: int
    image_size: int
    devices: int
    steps: int
    seconds: tuple[float, ...]
    input_wait: float | None
    compile_seconds: float
    costs: Costs
    model_flops: float
    peak_bytes: int | None
    pool_bytes: int | None
    chip: Chip | None

    @property
    def step_seconds(self) -> tuple[float, float, float]:
        """First quartile, median and third quartile of the repeats, for a step."""
        low, middle, high = np.quantile(self.seconds, (0.25, 0.5, 0.75)) / self.steps
        return float(low), float(middle), float(high)

    @property
    def images_per_second(self) -> float:
        """Images a second over all devices, at the median."""
        return self.images / self.step_seconds[1]

    @property
    def bytes_per_second(self) -> float:
        """Memory traffic of a device, at the median: bytes that the compiled step touches."""
        return self.costs.bytes / self.step_seconds[1]

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the share of a device's peak that the model's arithmetic takes.

        Source: Chowdhery et al., PaLM (2022), appendix B; the operations are those of flops.py.
        """
        if self.chip is None:
            return None
        return self.model_flops / self.step_seconds[1] / self.chip.peak_flops

    @property
    def roofline_share(self) -> float | None:
        """The speed as a share of the speed that a device's peaks allow for this program.

        The least time is the longer of two: the model's operations at the peak of arithmetic, and
        the bytes that the compiled step touches at the bandwidth of memory (costs.roofline). The
        share judges the execution of a program; one that touches fewer bytes has another roofline.
        """
        least = costs.roofline(self.model_flops, self.costs.bytes, self.chip)
        return None if least is None else least / self.step_seconds[1]
