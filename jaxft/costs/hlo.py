"""Text of XLA's HLO, read as computations of operations."""

import math
import re
from collections import Counter
from typing import NamedTuple


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
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,]*)\]")


def computations(hlo: str) -> Computations:
    """Return the computations of HLO text by name, that of the whole program as ENTRY."""
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
    """Count the runs of each computation in one execution of the program."""
    times = Counter({ENTRY: 1})
    for caller in reversed(program):
        for operation in program[caller]:
            trips = _trips(program, operation) if operation.opcode == "while" else 1
            for called in called_by(operation):
                times[called] += times[caller] * trips
    return times


def called_by(operation: Operation) -> list[str]:
    """Return the names of the computations that an operation calls."""
    names = ",".join(_CALLED.findall(operation.line))
    return re.findall(r"[\w.\-]+", names)


def _trips(program: Computations, loop: Operation) -> int:
    """Count the turns of a loop: as the compiler says, or the bound of a counter from 0; else 1."""
    known = re.search(r'known_trip_count":\{"n":"(\d+)', loop.line)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.line)
    lines = [operation.line for operation in program.get(condition[1], [])] if condition else []
    bounds = re.findall(r" = [su]32\[\]\S* constant\((\d+)\)", "\n".join(lines))
    return int(bounds[0]) if len(bounds) == 1 else 1


def shape_bytes(shape: str) -> int:
    """Bytes of an HLO shape, such as `(f32[8,128]{1,0:T(8,128)}, bf16[])`."""
    total = 0
    for dtype, sides in _ARRAY.findall(shape):
        bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
        total += -(-bits * math.prod(int(side) for side in sides.split(",") if side) // 8)
    return total
