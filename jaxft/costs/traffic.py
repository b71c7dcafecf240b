"""Bytes that a compiled program reads from memory and writes to it."""

import re

from jaxft.costs.hlo import Computations, Operation, called_by, shape_bytes
from jaxft.costs.timeline import one_after_the_other


def touched(program: Computations) -> int:
    """Count the bytes of the operands and results of all operations, a fusion being one.

    An operand that is only sliced or gathered from counts by the parts taken, an array updated in
    place by the part written: a step of an epoch takes a few rows of all features.
    """
    items = one_after_the_other(program)
    return sum(times * _used(program, operation, sizes) for operation, times, sizes in items)


def _used(program: Computations, operation: Operation, sizes: list[int]) -> int:
    """Count the bytes that an operation moves; `sizes` are those of its result and operands."""
    inside, names = [operation], list(operation.operands)
    if operation.opcode == "fusion":
        inside = program.get(called_by(operation)[0], [])
        found = {m[1]: o.name for o in inside if (m := re.search(r" parameter\((\d+)\)", o.line))}
        names = [found.get(str(number), "") for number in range(len(operation.operands))]
    read = sum(_read(inside, name, size) for name, size in zip(names, sizes[1:], strict=True))
    return read + _written(inside, sizes[0])


def _read(inside: list[Operation], name: str, size: int) -> int:
    """Count the bytes that the operations `inside` read of an array of `size` bytes."""
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
    """Count the bytes written of a result of `size` bytes; of an update in place, the new part."""
    if not inside or inside[-1].opcode != "dynamic-update-slice":
        return size
    shapes = {operation.name: operation.shape for operation in inside}
    return shape_bytes(shapes.get(inside[-1].operands[1], "")) or size
