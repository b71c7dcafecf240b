"""What a compiled program costs: operations, bytes, memory, collectives, seconds.

All figures are of one device, as the compiler counts them; nothing is run.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxft.chips import Chip

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

# Operations that take no time of their own: names, and copies that run beside the computation.
FREE = (
    *("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id"),
    *("replica-id", "after-all", "optimization-barrier", "copy-start", "copy-done"),
    *("slice-start", "slice-done", "async-start", "async-update", "async-done"),
)
FREE_CALLS = ("ConcatBitcast", "GatherScatterIndicesBitpacked", "AllocateBuffer", "Sharding")


class Memory(NamedTuple):
    """Bytes on a device while a program runs.

    `arguments` (state, frozen weights, batch), `outputs` (what is not donated counts twice: see
    `aliased`), `temporary` (activations, gradients), `code`.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int
    code: int

    @property
    def total(self) -> int:
        """All that must be there at once."""
        return self.arguments + self.outputs - self.aliased + self.temporary + self.code


class Collective(NamedTuple):
    """How often a kind of collective stands in a program, and bytes of its results in all."""

    number: int
    bytes: int


class ModelTime(NamedTuple):
    """XLA's cost model of a TPU program, in seconds.

    `costed` is the sum over the operations that the compiler has an estimate for, `charged` what
    the others take at their roofline, `unknown` the others' opcodes and numbers.
    """

    costed: float
    charged: float
    unknown: dict[str, int]

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.costed + self.charged


@dataclass(frozen=True)
class Costs:
    """What one execution costs one device; see each class and function for how it is counted.

    `roofline_seconds` is the least that the chip could take, None where its peak is unknown;
    `model` is None where the compiler leaves no estimates, as all but TPU's.
    """

    flops: float
    bytes: float
    memory: Memory
    collectives: dict[str, Collective]
    roofline_seconds: float | None
    model: ModelTime | None

    @property
    def seconds(self) -> float | None:
        """The best guess there is: XLA's cost model, else the roofline; None without either."""
        if self.model is None or self.roofline_seconds is None:
            return self.roofline_seconds
        return max(self.model.seconds, self.roofline_seconds)


def of_compiled(compiled: Any, chip: Chip | None) -> Costs:
    """The costs of what `jax.jit(...).lower(...).compile()` gives, against a chip's limits."""
    analysis = compiled.cost_analysis() or {}
    flops, moved = analysis.get("flops", 0.0), analysis.get("bytes accessed", 0.0)
    text = compiled.as_text()
    return Costs(
        flops,
        moved,
        memory_of(compiled.memory_analysis()),
        collectives(text),
        roofline(flops, moved, chip),
        model_time(text, chip) if chip is not None and chip.clock is not None else None,
    )


def memory_of(stats: Any) -> Memory:
    """JAX's `memory_analysis`, or the same in a mapping's attributes."""
    names = ("argument", "output", "alias", "temp", "generated_code")
    return Memory(*(getattr(stats, f"{name}_size_in_bytes") for name in names))


def roofline(flops: float, moved: float, chip: Chip | None) -> float | None:
    """Seconds that the chip needs at least: for the arithmetic or for the bytes, the longer.

    Source: Williams, Waterman and Patterson, Roofline (2009).
    """
    if chip is None:
        return None
    return max(flops / chip.peak_flops, moved / chip.hbm_bandwidth)


class Operation(NamedTuple):
    """A line of an HLO computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    line: str


_LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")


def operations(lines: Iterable[str]) -> Iterator[Operation]:
    """The operations of HLO text."""
    for line in lines:
        match = _LINE.match(line)
        if match:
            name, shape, opcode, rest = match.groups()
            operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
            yield Operation(name, shape, opcode, tuple(operands), line)


def collectives(hlo: str) -> dict[str, Collective]:
    """Collectives by kind; one within a loop counts once."""
    counts, moved = Counter[str](), Counter[str]()
    for operation in operations(hlo.splitlines()):
        kind = operation.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            counts[kind] += 1
            # What an asynchronous one starts with is its operands beside its results.
            halves = 2 if operation.opcode == "all-gather-start" else 1
            moved[kind] += shape_bytes(operation.shape) // halves
    return {kind: Collective(counts[kind], moved[kind]) for kind in sorted(counts)}


_ARRAY = re.compile(r"\b(pred|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,]*)\]")


def shape_bytes(shape: str) -> int:
    """Bytes of an HLO shape, such as `(f32[8,128]{1,0:T(8,128)}, bf16[])`."""
    total = 0
    for dtype, sides in _ARRAY.findall(shape):
        bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
        total += -(-bits * math.prod(int(side) for side in sides.split(",") if side) // 8)
    return total


def model_time(hlo: str, chip: Chip) -> ModelTime:
    """What the TPU compiler's own cost model says of the scheduled program.

    The compiler writes beside most operations how many cycles it thinks that they take
    (`estimated_cycles`). The sum over the entry computation, at the chip's clock, is the time. An
    operation without an estimate is charged the bytes of its operands and results over the
    bandwidth of memory; one that is only a name, or runs beside the others, nothing. (The sum
    `optimal_seconds` of JAX's `cost_analysis` hides what it has no cost for: it adds -1 s.)
    """
    assert chip.clock is not None
    entry = list(operations(_entry(hlo)))
    shapes = {operation.name: operation.shape for operation in entry}
    cycles, charged, unknown = 0, 0.0, Counter[str]()
    for operation in entry:
        estimate = re.search(r'"estimated_cycles":"?(-?\d+)', operation.line)
        if estimate and int(estimate[1]) >= 0:
            cycles += int(estimate[1])
        elif not _is_free(operation):
            touched = [operation.shape, *(shapes.get(name, "") for name in operation.operands)]
            charged += sum(map(shape_bytes, touched)) / chip.hbm_bandwidth
            unknown[operation.opcode] += 1
    return ModelTime(cycles / chip.clock, charged, dict(unknown))


def _is_free(operation: Operation) -> bool:
    if operation.opcode == "custom-call":
        return any(f'custom_call_target="{name}"' in operation.line for name in FREE_CALLS)
    return operation.opcode in FREE


def _entry(hlo: str) -> list[str]:
    """The lines of the entry computation."""
    lines = hlo.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("ENTRY ")), len(lines))
    rest = lines[first + 1 :]
    last = next((i for i, line in enumerate(rest) if line.startswith("}")), len(rest))
    return rest[:last]
