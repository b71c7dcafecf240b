"""Peaks of accelerators, for utilisation, rooflines and plans."""

import math
import re
from typing import NamedTuple

from jaxft.devices.platform import Platform


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
        """Return the part of one of `parts` devices that share the chip (two cores of a v4 do)."""
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

# NVIDIA's data sheets and architecture papers: bf16 into float32 sums, without sparsity. The first
# name counts that JAX's device kind contains as words of its own.
GPUS = (
    Chip("GB200", 2500e12, 186e9, 8.0e12),
    Chip("B200", 2250e12, 180e9, 8.0e12),
    Chip("GH200 144G", 989e12, 144e9, 4.9e12),
    Chip("GH200", 989e12, 96e9, 4.0e12),
    Chip("H200", 989e12, 141e9, 4.8e12),
    Chip("H20", 148e12, 96e9, 4.0e12),
    Chip("H100 NVL", 835e12, 94e9, 3.9e12),
    Chip("H100 PCIe", 756e12, 80e9, 2.0e12),
    Chip("H100", 989e12, 80e9, 3.35e12),
    Chip("A100-SXM4-80GB", 312e12, 80e9, 2.04e12),
    Chip("A100 80GB PCIe", 312e12, 80e9, 1.94e12),
    Chip("A100", 312e12, 40e9, 1.555e12),
    Chip("L40S", 362e12, 48e9, 0.864e12),
    Chip("L40", 181e12, 48e9, 0.864e12),
    Chip("L4", 121e12, 24e9, 0.3e12),
    Chip("A30", 165e12, 24e9, 0.933e12),
    Chip("A10G", 70e12, 24e9, 0.6e12),
    Chip("A10", 125e12, 24e9, 0.6e12),
    Chip("RTX 5090", 209.5e12, 32e9, 1.792e12),
    Chip("RTX 4090", 165e12, 24e9, 1.008e12),
    Chip("RTX 3090", 71e12, 24e9, 0.936e12),
    Chip("V100-SXM2-32GB", 125e12, 32e9, 0.9e12),
    Chip("V100", 125e12, 16e9, 0.9e12),
    Chip("T4", 65e12, 16e9, 0.32e12),
)

# Words of a device kind that is slower than the card whose name it has, or a part of one.
LESSER = ("Laptop", "Max-Q", "MIG")

# Slices that Cloud TPU rents and that compile ahead of time; a slice is at least one host.
FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SLICES = {"v4": CUBES, "v5e": FLAT, "v5p": CUBES, "v6e": FLAT}


def of_platform(platform: Platform) -> Chip | None:
    """Return the chip of a platform; None where its peak is not known, as for any CPU."""
    if platform.name == "tpu":
        return TPUS.get(platform.chip)
    if platform.name == "gpu" and not any(word in platform.chip for word in LESSER):
        return next((chip for chip in GPUS if _names(chip, platform.chip)), None)
    return None


def _names(chip: Chip, kind: str) -> bool:
    return re.search(rf"\b{re.escape(chip.name)}\b", kind) is not None


def chips_of(shape: str) -> int:
    """Return the number of chips of a slice such as "2x4"."""
    return math.prod(int(side) for side in shape.split("x"))
