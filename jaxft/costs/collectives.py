"""Collectives of a compiled program: exchanges between the devices."""

from collections import Counter
from typing import NamedTuple

from jaxft.costs.hlo import Computations, called_by, runs, shape_bytes

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

# TPU's compiler cuts an asynchronous collective into fusions: one that starts it, some that carry
# it on beside a computation, and one that ends it; the collective stands in each of them.
STARTS, ENDS = "async-collective-start", "async-collective-done"


class Collective(NamedTuple):
    """Runs of one kind of collective in a program, and the bytes of all their results.

    `asynchronous` of the runs take place beside other operations.
    """

    number: int
    bytes: int
    asynchronous: int = 0


def collectives(program: Computations) -> dict[str, Collective]:
    """Return the collectives by kind; one in a loop counts at every turn."""
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


def _fused(program: Computations) -> dict[str, str]:
    """Return computation -> name, without its number, of the fusion that calls it."""
    fusions = (o for operations in program.values() for o in operations if o.opcode == "fusion")
    return {called: f.name.split(".")[0] for f in fusions for called in called_by(f)}
