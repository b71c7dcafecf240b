"""Costs of a compiled program: operations, bytes, memory, collectives, seconds.

All figures are of one device, as the compiler counts them; nothing is run.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxft.costs.collectives import Collective, collectives
from jaxft.costs.hlo import Computations, computations
from jaxft.costs.model_time import ModelTime, model_time
from jaxft.costs.traffic import touched
from jaxft.devices.chips import Chip


class Memory(NamedTuple):
    """Bytes on a device while a program runs.

    `arguments` (state, frozen weights, batch), `outputs`, `aliased` (outputs in the place of
    donated arguments), `temporary` (activations, gradients), `code`.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int
    code: int

    @property
    def total(self) -> int:
        """Bytes that must be there at once."""
        return self.arguments + self.outputs - self.aliased + self.temporary + self.code


@dataclass(frozen=True)
class Costs:
    """Costs of one execution on one device; each class and function explains its count.

    `roofline_seconds` is the least that the chip could take, None where its peak is unknown;
    `model` is None where the compiler leaves no estimates; only TPU's does.
    """

    flops: float
    bytes: float
    memory: Memory
    collectives: dict[str, Collective]
    roofline_seconds: float | None
    model: ModelTime | None

    @property
    def seconds(self) -> float | None:
        """The best estimate: XLA's cost model, else the roofline; None without either."""
        if self.model is None or self.roofline_seconds is None:
            return self.roofline_seconds
        return max(self.model.seconds, self.roofline_seconds)


def of_compiled(compiled: Any, chip: Chip | None, passes: int = 1, counted: float = 0.0) -> Costs:
    """Return the costs of a compiled `jax.jit` program, against a chip's limits.

    XLA counts the operations and bytes of a loop's body once: `passes` is the number of turns of
    the loop that holds nearly all of the program, if there is one (microbatches). Operations are
    the larger of XLA's count and `counted`, the matrix arithmetic of the traced program
    (flops.of_traced): XLA counts none for a GPU that is not there, and none inside cuDNN on one
    that is. Bytes are the smaller of XLA's count, which counts bytes that a fusion reads
    repeatedly every time, and `touched`, which sees a partial read only where the program text
    shows it; `touched` alone where a program calls cuDNN, whose bytes XLA does not count.
    """
    analysis = compiled.cost_analysis() or {}
    program = computations(compiled.as_text())
    flops = max(passes * analysis.get("flops", 0.0), counted)
    moved: float = touched(program)
    if not calls_cudnn(program):
        moved = min(moved, passes * analysis.get("bytes accessed", math.inf))
    return Costs(
        flops,
        moved,
        memory_of(compiled.memory_analysis()),
        collectives(program),
        roofline(flops, moved, chip),
        model_time(program, chip) if chip is not None and chip.clock is not None else None,
    )


def calls_cudnn(program: Computations) -> bool:
    """Say if convolutions of a program are cuDNN's."""
    operations = (operation for computation in program.values() for operation in computation)
    return any('custom_call_target="__cudnn' in operation.line for operation in operations)


def of_epoch(compiled: Any, chip: Chip | None, steps: int, counted: float) -> Costs:
    """Return the costs of one step of a compiled epoch, an even share of its loop of `steps`.

    The memory is that of the whole program. XLA's counts are not used: they hold the loop once
    and what precedes it for the whole epoch, which no factor mends.
    """
    program = computations(compiled.as_text())
    flops, moved = counted / steps, touched(program) / steps
    sent = {
        kind: found._replace(number=found.number // steps, bytes=found.bytes // steps)
        for kind, found in collectives(program).items()
    }
    memory = memory_of(compiled.memory_analysis())
    return Costs(flops, moved, memory, sent, roofline(flops, moved, chip), None)


def memory_of(stats: Any) -> Memory:
    """Read JAX's `memory_analysis`, or an object with the same attributes."""
    names = ("argument", "output", "alias", "temp", "generated_code")
    return Memory(*(getattr(stats, f"{name}_size_in_bytes") for name in names))


def roofline(flops: float, moved: float, chip: Chip | None) -> float | None:
    """Return the least seconds that the chip needs, the longer of arithmetic and memory traffic.

    Source: Williams, Waterman and Patterson, Roofline (2009).
    """
    if chip is None:
        return None
    return max(flops / chip.peak_flops, moved / chip.hbm_bandwidth)
