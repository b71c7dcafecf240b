"""What a compiled program costs: operations, bytes, memory, collectives, seconds.

All figures are of one device, as the compiler counts them; nothing is run.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxft.devices.chips import Chip

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

# Operations that take no time of their own: names, copies that run beside the computation, and
# loops, whose bodies count.
FREE = (
    *("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id"),
    *("replica-id", "after-all", "optimization-barrier", "copy-start", "copy-done"),
    *("slice-start", "slice-done", "async-start", "async-update", "async-done", "while"),
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
    """How often a kind of collective runs in a program, and bytes of its results in all.

    `asynchronous` of the number run beside other operations.
    """

    number: int
    bytes: int
    asynchronous: int = 0


class Charge(NamedTuple):
    """Operations of one kind without an estimate: how many run, and what they are charged."""

    number: int
    seconds: float


class ModelTime(NamedTuple):
    """XLA's cost model of a TPU program, in seconds.

    `costed` is the sum over the operations that the compiler has an estimate for, `charges` what
    the others take at their roofline, by opcode.
    """

    costed: float
    charges: dict[str, Charge]

    @property
    def charged(self) -> float:
        """Seconds of all operations without an estimate."""
        return sum(charge.seconds for charge in self.charges.values())

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


def of_compiled(compiled: Any, chip: Chip | None, passes: int = 1, counted: float = 0.0) -> Costs:
    """The costs of what `jax.jit(...).lower(...).compile()` gives, against a chip's limits.

    XLA counts the operations and bytes of a loop's body once: `passes` says how often the loop
    runs that nearly all of the program is in, if there is one (microbatches). Operations are the
    more of XLA's count and of `counted`, the matrix arithmetic of the traced program
    (flops.of_traced): for a GPU that is not there XLA counts none, and on one that is there
    nothing of what runs inside cuDNN. Bytes are the fewer of XLA's count, which takes what a fusion
    reads again and again for as many bytes, and of `touched`, which knows the parts that are read
    of an array only where that is written beside it.
    """
    analysis = compiled.cost_analysis() or {}
    program = computations(compiled.as_text())
    flops = max(passes * analysis.get("flops", 0.0), counted)
    moved = min(passes * analysis.get("bytes accessed", math.inf), touched(program))
    return Costs(
        flops,
        moved,
        memory_of(compiled.memory_analysis()),
        collectives(program),
        roofline(flops, moved, chip),
        model_time(program, chip) if chip is not None and chip.clock is not None else None,
    )


def of_epoch(compiled: Any, chip: Chip | None, steps: int, counted: float) -> Costs:
    """The costs of one step of a compiled epoch, a loop of `steps`: an even share of all of it.

    The memory is that of the whole program. XLA counts what is in the loop once and what is before
    it for the whole epoch, which no factor mends, so its counts are not asked.
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


Computations = dict[str, list[Operation]]  # the operations of every computation; callers come last
ENTRY = "ENTRY"

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)"
)


def computations(hlo: str) -> Computations:
    """The computations of HLO text by name, that of the whole program as ENTRY."""
    program: Computations = {}
    for line in hlo.splitlines():
        head = _HEAD.match(line)
        match = _LINE.match(line)
        if head:
            program[ENTRY if head[1] else head[2]] = current = []
        elif match:
            name, shape, opcode, rest = match.groups()
            operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
            current.append(Operation(name, shape, opcode, tuple(operands), line))
    return program


def runs(program: Computations) -> Counter[str]:
    """How often each computation runs in one execution of the program."""
    times = Counter({ENTRY: 1})
    for caller in reversed(program):
        for operation in program[caller]:
            trips = _trips(program, operation) if operation.opcode == "while" else 1
            for called in _called(operation):
                times[called] += times[caller] * trips
    return times


def _called(operation: Operation) -> list[str]:
    names = ",".join(_CALLED.findall(operation.line))
    return re.findall(r"[\w.\-]+", names)


def _trips(program: Computations, loop: Operation) -> int:
    """How often a loop runs: as the compiler says, or the bound of a counter from 0; else 1."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)', loop.line)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.line)
    lines = [operation.line for operation in program.get(condition[1], [])] if condition else []
    bounds = re.findall(r" = [su]32\[\]\S* constant\((\d+)\)", "\n".join(lines))
    return int(bounds[0]) if len(bounds) == 1 else 1


def collectives(program: Computations) -> dict[str, Collective]:
    """Collectives by kind; those of a loop as often as it runs."""
    counts, moved, beside, times = Counter[str](), Counter[str](), Counter[str](), runs(program)
    fused = _fused(program)
    for name, operations in program.items():
        for operation in operations:
            kind = operation.opcode.removesuffix("-start")
            if kind not in COLLECTIVES or fused.get(name, STARTS) != STARTS:
                continue
            counts[kind] += times[name]
            if name in fused or operation.opcode != kind:
                beside[kind] += times[name]
            # What an asynchronous one starts with is its operands beside its results.
            halves = 2 if operation.opcode == "all-gather-start" else 1
            moved[kind] += times[name] * shape_bytes(operation.shape) // halves
    return {k: Collective(counts[k], moved[k], beside[k]) for k in sorted(counts)}


# TPU's compiler cuts an asynchronous collective into fusions: one that starts it, some that carry
# it on beside a computation, and one that ends it; the collective stands in each of them.
STARTS, ENDS = "async-collective-start", "async-collective-done"


def _fused(program: Computations) -> dict[str, str]:
    """For each computation that a fusion calls, that fusion's name without its number."""
    fusions = (o for operations in program.values() for o in operations if o.opcode == "fusion")
    return {called: f.name.split(".")[0] for f in fusions for called in _called(f)}


_ARRAY = re.compile(r"\b(pred|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,]*)\]")


def shape_bytes(shape: str) -> int:
    """Bytes of an HLO shape, such as `(f32[8,128]{1,0:T(8,128)}, bf16[])`."""
    total = 0
    for dtype, sides in _ARRAY.findall(shape):
        bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
        total += -(-bits * math.prod(int(side) for side in sides.split(",") if side) // 8)
    return total


def model_time(program: Computations, chip: Chip) -> ModelTime:
    """What the TPU compiler's own cost model says of the scheduled program.

    The compiler writes beside most operations how many cycles it thinks that they take
    (`estimated_cycles`). The sum over the entry computation and the bodies of its loops, at the
    chip's clock, is the time. An operation without an estimate is charged the bytes of its
    operands and results over the bandwidth of memory; one that is only a name, or runs beside the
    others, nothing. A collective that starts asynchronously is charged as if it did not. (The sum
    `optimal_seconds` of JAX's `cost_analysis` hides what it has no cost for: it adds -1 s.)
    """
    assert chip.clock is not None
    cycles, counts, seconds = 0, Counter[str](), defaultdict[str, float](float)
    for operation, times, sizes in _one_after_the_other(program):
        estimate = re.search(r'"estimated_cycles":"?(-?\d+)', operation.line)
        if estimate and int(estimate[1]) >= 0:
            cycles += times * int(estimate[1])
        else:
            counts[operation.opcode] += times
            seconds[operation.opcode] += times * sum(sizes) / chip.hbm_bandwidth
    charges = {kind: Charge(counts[kind], seconds[kind]) for kind in sorted(counts)}
    return ModelTime(cycles / chip.clock, charges)


def touched(program: Computations) -> int:
    """Bytes of the operands and results of all operations, a fusion being one.

    Of an operand that is only sliced or gathered from, what is taken of it counts, and of an array
    that is updated in place what is put there: a step of an epoch takes a few rows of all features.
    """
    items = _one_after_the_other(program)
    return sum(times * _used(program, operation, sizes) for operation, times, sizes in items)


def _used(program: Computations, operation: Operation, sizes: list[int]) -> int:
    """The bytes that an operation reads and writes, of the sizes of its result and operands."""
    inside, names = [operation], list(operation.operands)
    if operation.opcode == "fusion":
        inside = program.get(_called(operation)[0], [])
        found = {m[1]: o.name for o in inside if (m := re.search(r" parameter\((\d+)\)", o.line))}
        names = [found.get(str(number), "") for number in range(len(operation.operands))]
    read = sum(_read(inside, name, size) for name, size in zip(names, sizes[1:], strict=True))
    return read + _written(inside, sizes[0])


def _read(inside: list[Operation], name: str, size: int) -> int:
    """The bytes that are read of an array of `size`, among the operations that use it."""
    if not name:
        return size
    total = 0
    for user in (operation for operation in inside if name in operation.operands):
        if user.opcode == "bitcast":
            total += _read(inside, user.name, size)
        elif user.opcode in ("slice", "dynamic-slice", "gather") and name == user.operands[0]:
            total += shape_bytes(user.shape)
        elif user.opcode != "dynamic-update-slice" or name in user.operands[1:]:
            return size
    return min(total, size)


def _written(inside: list[Operation], size: int) -> int:
    """The bytes that are written of a result of `size`: of an update in place, the new part."""
    if not inside or inside[-1].opcode != "dynamic-update-slice":
        return size
    shapes = {operation.name: operation.shape for operation in inside}
    return shape_bytes(shapes.get(inside[-1].operands[1], "")) or size


def _one_after_the_other(program: Computations) -> Iterator[tuple[Operation, int, list[int]]]:
    """The entry's operations and those of its loops, how often each runs, and its arrays' bytes.

    These are the result's and every operand's, in this order.
    """
    all_lines = [o.line for operations in program.values() for o in operations]
    loops = [line for line in all_lines if " while(" in line]
    times = runs(program)
    for name in (ENTRY, *re.findall(r" body=%?([\w.\-]+)", "\n".join(loops))):
        shapes = {operation.name: operation.shape for operation in program[name]}
        for operation in program[name]:
            arrays = (operation.shape, *(shapes.get(o, "") for o in operation.operands))
            if operation.name.startswith(STARTS):
                inside = (o for called in _called(operation) for o in program[called])
                arrays = tuple(o.shape for o in inside if o.opcode in COLLECTIVES) * 2
            if not _is_free(operation):
                yield operation, times[name], [shape_bytes(array) for array in arrays]


def _is_free(operation: Operation) -> bool:
    if operation.opcode == "fusion":
        return operation.name.startswith(ENDS)
    if operation.opcode == "custom-call":
        return any(f'custom_call_target="{name}"' in operation.line for name in FREE_CALLS)
    return operation.opcode in FREE
