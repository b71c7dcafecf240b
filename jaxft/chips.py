"""What accelerators can do at most: the figures that utilisation, rooflines and plans stand on."""

import math
from typing import NamedTuple

from jaxft.models.platform import Platform


class Chip(NamedTuple):
    """One chip.

    `peak_flops` bf16 (dense) a second, `hbm_bytes` of device memory, `hbm_bandwidth` bytes a
    second, `clock` cycles a second of a TPU's cores (None for others), in which XLA's TPU
    compiler counts what an operation takes.
    """

    name: str
    peak_flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    clock: float | None = None

    def share(self, parts: int) -> "Chip":
        """What one of `parts` devices has that share the chip (two cores of a v4 do)."""
        return self._replace(
            peak_flops=self.peak_flops / parts,
            hbm_bytes=self.hbm_bytes / parts,
            hbm_bandwidth=self.hbm_bandwidth / parts,
        )


# Peaks and bandwidths as Google's Cloud TPU documentation has them (cloud.google.com/tpu/docs/v4,
# v5e, v5p, v6e); clocks as in Wikipedia's table "Tensor Processing Unit". Memory in the GiB that
# XLA's compiler allows, in all.
TPUS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 32 * 2**30, 1.228e12, 1.05e9),
        Chip("v5e", 197e12, 16 * 2**30, 0.819e12, 1.5e9),
        Chip("v5p", 459e12, 95 * 2**30, 2.765e12, 1.75e9),
        Chip("v6e", 918e12, 32 * 2**30, 1.64e12, 1.75e9),
    )
}

# NVIDIA's data sheets, without sparsity. The first name that JAX's device kind contains counts.
GPUS = (
    Chip("H200", 989e12, 141e9, 4.8e12),
    Chip("H100 PCIe", 756e12, 80e9, 2.0e12),
    Chip("H100", 989e12, 80e9, 3.35e12),
    Chip("A100-SXM4-80GB", 312e12, 80e9, 2.04e12),
    Chip("A100 80GB PCIe", 312e12, 80e9, 1.94e12),
    Chip("A100", 312e12, 40e9, 1.555e12),
    Chip("L40S", 362e12, 48e9, 0.864e12),
    Chip("L4", 121e12, 24e9, 0.3e12),
    Chip("A10G", 70e12, 24e9, 0.6e12),
    Chip("V100", 125e12, 16e9, 0.9e12),
    Chip("T4", 65e12, 16e9, 0.32e12),
)

# Slices that Cloud TPU rents and that compile ahead of time; a slice is at least one host.
FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SLICES = {"v4": CUBES, "v5e": FLAT, "v5p": CUBES, "v6e": FLAT}


def of_platform(platform: Platform) -> Chip | None:
    """The chip of a platform; None for one whose peak is not known, as any CPU."""
    if platform.name == "tpu":
        return TPUS.get(platform.chip)
    if platform.name == "gpu":
        return next((chip for chip in GPUS if chip.name in platform.chip), None)
    return None


def chips_of(shape: str) -> int:
    """How many chips a slice "2x4" has."""
    return math.prod(int(side) for side in shape.split("x"))
