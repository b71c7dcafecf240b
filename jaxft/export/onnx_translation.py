"""JAX's operations as ONNX's.

An array of four axes, [batch, height, width, channels] in JAX, is [batch, channels, height, width]
in the graph, which is the one order that ONNX's convolutions have.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxft.errors import UserError
from jaxft.export.onnx_nodes import Graph

Value = str | np.ndarray  # the name of an array in the graph; or an array that is known already
NHWC = (0, 3, 1, 2)  # places of batch, channels, height and width, in JAX's words for a convolution
HWIO = (3, 2, 0, 1)


class Untranslated(UserError):
    """An operation that has no translation here."""


def translate(graph: Graph, traced: ClosedJaxpr, given: Sequence[Value]) -> list[Value]:
    """Add the nodes of a traced function of `given` to a graph; return the function's outputs.

    All that depends on constants alone is computed now.

    Raises:
      Untranslated: an operation has no translation.
    """
    inside = traced.jaxpr
    constants = map(np.asarray, traced.consts)
    values: dict[Any, Value] = dict(zip(inside.constvars, constants, strict=True))
    values.update(zip(inside.invars, given, strict=True))

    def value(atom: Any) -> Value:
        return np.asarray(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in inside.eqns:
        inputs = [value(atom) for atom in equation.invars]
        values.update(zip(equation.outvars, _outputs(graph, equation, inputs), strict=True))
    return [value(atom) for atom in inside.outvars]


def _outputs(graph: Graph, equation: Any, inputs: Sequence[Value]) -> list[Value]:
    """Return the outputs of one operation, which may be a function of several."""
    primitive, params = equation.primitive, equation.params
    for key in ("jaxpr", "call_jaxpr"):
        if key in params:
            return translate(graph, params[key], inputs)
    if all(isinstance(value, np.ndarray) for value in inputs):
        found = primitive.bind(*inputs, **params)
        return [np.asarray(one) for one in (found if primitive.multiple_results else [found])]
    if primitive.name not in OPERATIONS:
        raise Untranslated(f"there is no translation into ONNX of JAX's {primitive.name}")
    return [OPERATIONS[primitive.name](graph, params, *inputs)]


def _named(graph: Graph, value: Value) -> str:
    """Return the name of an array in the graph, which gets it if it has not."""
    if isinstance(value, str):
        return value
    return graph.keep(value.transpose(NHWC) if value.ndim == 4 else value)


def _demand(condition: bool, told: str) -> None:
    if not condition:
        raise Untranslated(f"there is no translation into ONNX of {told}")


def _elementwise(kind: str) -> Callable[..., str]:
    def add(graph: Graph, params: Any, x: Value, y: Value) -> str:
        return graph.add(kind, _named(graph, x), _named(graph, y))

    return add


def _maximum(graph: Graph, params: Any, x: Value, y: Value) -> str:
    if isinstance(y, np.ndarray) and y.ndim == 0 and y == 0:
        return graph.add("Relu", _named(graph, x))
    return graph.add("Max", _named(graph, x), _named(graph, y))


def _convolution(graph: Graph, params: Any, x: Value, kernel: Value) -> str:
    layout = params["dimension_numbers"]
    specs = (layout.lhs_spec, layout.rhs_spec, layout.out_spec)
    plain = specs == (NHWC, HWIO, NHWC) and set(params["lhs_dilation"]) == {1}
    _demand(plain and isinstance(kernel, np.ndarray), "such a convolution")
    assert isinstance(kernel, np.ndarray)
    return graph.add(
        "Conv",
        _named(graph, x),
        graph.keep(kernel.transpose(HWIO)),
        kernel_shape=kernel.shape[:2],
        strides=params["window_strides"],
        pads=_pads(params["padding"]),
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )


def _largest(graph: Graph, params: Any, x: Value) -> str:
    keys = ("window_dimensions", "window_strides", "padding")
    window, strides, padding = (params[key] for key in keys)
    outer = [(window[axis], strides[axis], padding[axis]) for axis in (0, 3)]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    _demand(outer == [(1, 1, (0, 0))] * 2 and not dilated, "such a maximum over windows")
    spatial = slice(1, 3)
    return graph.add(
        "MaxPool",
        _named(graph, x),
        kernel_shape=window[spatial],
        strides=strides[spatial],
        pads=_pads(padding[spatial]),
    )


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    """Return ONNX's pads: all those before, then all those after."""
    return [*(low for low, _ in padding), *(high for _, high in padding)]


def _reduction(kind: str) -> Callable[..., str]:
    def add(graph: Graph, params: Any, x: Value) -> str:
        _demand(tuple(params["axes"]) == (1, 2), "a reduction over other axes than the pixels'")
        axes = graph.keep(np.asarray([2, 3], np.int64))
        return graph.add(kind, _named(graph, x), axes, keepdims=0)

    return add


def _product(graph: Graph, params: Any, x: Value, y: Value) -> str:
    plain = params["dimension_numbers"] == (((1,), (0,)), ((), ()))
    _demand(plain, "such a product")
    return graph.add("Gemm", _named(graph, x), _named(graph, y))


def _concatenation(graph: Graph, params: Any, *arrays: Value) -> str:
    _demand(params["dimension"] == 1, "a concatenation of other axes than the features'")
    return graph.add("Concat", *(_named(graph, array) for array in arrays), axis=1)


OPERATIONS: dict[str, Callable[..., str]] = {
    "add": _elementwise("Add"),
    "sub": _elementwise("Sub"),
    "mul": _elementwise("Mul"),
    "div": _elementwise("Div"),
    "min": _elementwise("Min"),
    "max": _maximum,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _largest,
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "dot_general": _product,
    "concatenate": _concatenation,
}
