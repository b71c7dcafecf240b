"""Time of a TPU program by the compiler's own cost model."""

import re
from collections import Counter, defaultdict
from typing import NamedTuple

from jaxft.costs.hlo import Computations
from jaxft.costs.timeline import one_after_the_other
from jaxft.devices.chips import Chip


class Charge(NamedTuple):
    """Number of operations of one kind without an estimate, and the seconds charged for them."""

    number: int
    seconds: float


class ModelTime(NamedTuple):
    """XLA's cost model of a TPU program, in seconds.

    `costed` is the sum over the operations that the compiler has an estimate for, `charges` the
    time of the others at their roofline, by opcode.
    """

    costed: float
    charges: dict[str, Charge]

    @property
    def charged(self) -> float:
        """Seconds of all operations without an estimate."""
        return sum(charge.seconds for charge in self.charges.values())

    @property
    def seconds(self) -> float:
        """Seconds of all operations."""
        return self.costed + self.charged


def model_time(program: Computations, chip: Chip) -> ModelTime:
    """Add up the TPU compiler's own estimates for the scheduled program.

    The compiler writes an estimate in cycles beside most operations (`estimated_cycles`). The sum
    over the entry computation and the bodies of its loops, at the chip's clock, is the time. An
    operation without an estimate is charged the bytes of its operands and results over the
    bandwidth of memory; one that is only a name, or runs beside the others, nothing. A collective
    that starts asynchronously is charged as a synchronous one. (The sum `optimal_seconds` of JAX's
    `cost_analysis` hides operations without a cost: each adds -1 s.)
    """
    assert chip.clock is not None
    cycles, counts, seconds = 0, Counter[str](), defaultdict[str, float](float)
    for operation, times, sizes in one_after_the_other(program):
        estimate = re.search(r'"estimated_cycles":"?(-?\d+)', operation.line)
        if estimate and int(estimate[1]) >= 0:
            cycles += times * int(estimate[1])
        else:
            counts[operation.opcode] += times
            seconds[operation.opcode] += times * sum(sizes) / chip.hbm_bandwidth
    charges = {kind: Charge(counts[kind], seconds[kind]) for kind in sorted(counts)}
    return ModelTime(cycles / chip.clock, charges)
