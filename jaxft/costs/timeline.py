"""Operations of a compiled program that take time, one after the other."""

import re
from collections.abc import Iterator

from jaxft.costs.collectives import COLLECTIVES, ENDS, STARTS
from jaxft.costs.hlo import ENTRY, Computations, Operation, called_by, runs, shape_bytes

# Operations that take no time of their own: names, copies that run beside the computation, and
# loops, whose bodies count.
FREE = (
    *("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id"),
    *("replica-id", "after-all", "optimization-barrier", "copy-start", "copy-done"),
    *("slice-start", "slice-done", "async-start", "async-update", "async-done", "while"),
)
FREE_CALLS = ("ConcatBitcast", "GatherScatterIndicesBitpacked", "AllocateBuffer", "Sharding")


def one_after_the_other(program: Computations) -> Iterator[tuple[Operation, int, list[int]]]:
    """Yield operations of the entry and of its loops, with their runs and their arrays' bytes.

    The arrays are the result and every operand, in this order.
    """
    all_lines = [o.line for operations in program.values() for o in operations]
    loops = [line for line in all_lines if " while(" in line]
    times = runs(program)
    for name in (ENTRY, *re.findall(r" body=%?([\w.\-]+)", "\n".join(loops))):
        shapes = {operation.name: operation.shape for operation in program[name]}
        for operation in program[name]:
            arrays = (operation.shape, *(shapes.get(o, "") for o in operation.operands))
            if operation.name.startswith(STARTS):
                inside = (o for called in called_by(operation) for o in program[called])
                arrays = tuple(o.shape for o in inside if o.opcode in COLLECTIVES) * 2
            if not _is_free(operation):
                yield operation, times[name], [shape_bytes(array) for array in arrays]


def _is_free(operation: Operation) -> bool:
    if operation.opcode == "fusion":
        return operation.name.startswith(ENDS)
    if operation.opcode == "custom-call":
        return any(f'custom_call_target="{name}"' in operation.line for name in FREE_CALLS)
    return operation.opcode in FREE
