"""A compiled program, or the compiler's refusal of it."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxft.costs.costs import Costs


class Refusal(NamedTuple):
    """A program that the compiler refused: the bytes that it needs, and those allowed."""

    needed: float
    allowed: float


@dataclass(frozen=True)
class Program:
    """One compiled program: its costs, or its refusal, and the seconds of its compilation."""

    name: str
    images: int  # a device's share of a batch
    costs: Costs | Refusal
    compile_seconds: float
