"""Nodes and constants of an ONNX graph in the making."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

BIASED = (("Conv", "Add"), ("Gemm", "Add"))


class Node(NamedTuple):
    """An operation with one output; its inputs and its output by name."""

    kind: str
    inputs: Sequence[str]
    output: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run, and constants by name."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(Node(kind, inputs, name, attributes))
        return name

    def keep(self, array: np.ndarray) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array, order="C")
        return name


def join(graph: Graph) -> Graph:
    """Let convolutions and products add their biases, and one node clip at both ends."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    constants = dict(graph.constants)
    made: dict[str, Node] = {}
    for node in graph.nodes:
        first, array = _operands(node, made, constants)
        joined = _joined(first, node, array) if first and uses[first.output] == 1 else None
        if first is None or joined is None:
            made[node.output] = node
            continue
        kind, more = joined
        named = {f"{node.output}_{place}": one for place, one in enumerate(more)}
        constants |= named
        del made[first.output]
        made[node.output] = Node(kind, (*first.inputs, *named), node.output, first.attributes)
    used = {name for node in made.values() for name in node.inputs}
    return Graph(list(made.values()), {name: a for name, a in constants.items() if name in used})


def _operands(
    node: Node, made: dict[str, Node], constants: dict[str, np.ndarray]
) -> tuple[Node | None, np.ndarray]:
    """Return the node that made one of a node's two inputs, and the constant that is the other."""
    if len(node.inputs) == 2:
        for x, y in (node.inputs, node.inputs[::-1]):
            if x in made and y in constants:
                return made[x], constants[y]
    return None, np.zeros(0)


def _joined(first: Node, second: Node, array: np.ndarray) -> tuple[str, list[np.ndarray]] | None:
    """Return the kind of one node for the work of two, and its constants after the first's inputs.

    None: there is no such node.
    """
    kinds = (first.kind, second.kind)
    if kinds == ("Relu", "Min") and array.ndim == 0:
        return "Clip", [np.zeros_like(array), array]
    by_channel = array.ndim > 1 and array.size == array.shape[1]
    if kinds in BIASED and by_channel and len(first.inputs) == 2:
        return first.kind, [array.reshape(-1)]
    return None
