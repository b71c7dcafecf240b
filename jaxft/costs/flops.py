"""Floating-point operations of a program as traced, before any compiler or device sees it.

Only matrix products and convolutions count, with 2 operations for a multiply-add: peaks and a
model's utilisation (MFU) are stated in these. So the figure does not depend on JAX's
`cost_analysis`, which no GPU or TPU has for a lowered program, and which leaves out the work inside
cuDNN.

XLA's own count is larger by an operation or more for every number of an elementwise loop or a
reduction. The rest agrees to the last digit: places of a convolution's window that lie in padding,
or between dilated pixels, do not count.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal


def of_traced(traced: Any) -> float:
    """Count the operations of one execution of a traced `jax.jit` function.

    Inside `shard_map` shapes are those of one device, and so are the counts.
    """
    return of_jaxpr(traced.jaxpr)


def of_jaxpr(jaxpr: Jaxpr | ClosedJaxpr) -> float:
    """Count the operations of one execution of a traced program that a result depends on.

    The body of a scan counts once for each turn, that of a `while_loop`, whose turns are unknown,
    once; of a `cond` the most expensive branch counts.
    """
    program = _opened(jaxpr)
    return _of_program(program, [True] * len(program.outvars))[0]


def _opened(jaxpr: Jaxpr | ClosedJaxpr) -> Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


# Operations, and for each input a mark: a wanted result depends on it. A gradient's trace may hold
# a forward pass that no result depends on; no compiler keeps it.
Count = tuple[float, list[bool]]


def _of_program(program: Jaxpr, wanted: list[bool]) -> Count:
    total, alive = 0.0, {v for v, is_wanted in _pairs(program.outvars, wanted) if is_wanted}
    for equation in reversed(program.eqns):
        asked = [variable in alive for variable in equation.outvars]
        if any(asked) or _has_effects(equation):
            operations, needed = _of_equation(equation, asked)
            total += operations
            alive |= {v for v, is_needed in _pairs(equation.invars, needed) if is_needed}
    return total, [variable in alive for variable in program.invars]


def _pairs(variables: Iterable[Any], marks: Iterable[bool]) -> Iterator[tuple[Any, bool]]:
    """Pair variables with their marks, leaving out constants, which nothing computes."""
    return ((v, m) for v, m in zip(variables, marks, strict=True) if not isinstance(v, Literal))


def _has_effects(equation: JaxprEqn) -> bool:
    """Tell whether an equation has effects, other than naming an axis of the mesh."""
    return any(type(effect).__name__ != "NamedAxisEffect" for effect in equation.effects)


def _of_equation(equation: JaxprEqn, asked: list[bool]) -> Count:
    name, parameters = equation.primitive.name, equation.params
    everything = [True] * len(equation.invars)
    if name in COUNTED:
        return COUNTED[name](equation), everything
    inside = [_opened(jaxpr) for jaxpr in _jaxprs(list(parameters.values()))]
    if name in ("scan", "while"):  # a turn's results are the next one's inputs
        operations = sum(of_jaxpr(program) for program in inside)
        return operations * parameters.get("length", 1), everything
    if name == "cond":
        branches = [_of_program(program, asked) for program in inside]
        return max(operations for operations, _ in branches), everything
    if len(inside) == 1 and _is_call(equation, inside[0]):
        return _of_program(inside[0], asked)
    return sum(of_jaxpr(program) for program in inside), everything


def _is_call(equation: JaxprEqn, program: Jaxpr) -> bool:
    """Tell whether inputs and results are the program's, one for one, as in a jit in a jit."""
    sizes = len(program.invars), len(program.outvars)
    return sizes == (len(equation.invars), len(equation.outvars))


def _jaxprs(value: Any) -> Iterator[Jaxpr | ClosedJaxpr]:
    """Yield the programs that an operation's parameter holds."""
    if isinstance(value, Jaxpr | ClosedJaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _jaxprs(item)


def _shapes(equation: JaxprEqn) -> list[tuple[int, ...]]:
    """Return the shapes of the two operands and of the result."""
    variables: list[Any] = [*equation.invars[:2], equation.outvars[0]]
    return [variable.aval.shape for variable in variables]


def _of_product(equation: JaxprEqn) -> float:
    """Count two operations for each product; a number of the result is a sum of products."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, _, result = _shapes(equation)
    found: float = 2.0 * math.prod(result) * math.prod(left[axis] for axis in contracted)
    return found


def _of_convolution(equation: JaxprEqn) -> float:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    image, kernel, result = _shapes(equation)
    places = 1
    for axis, (low, _) in enumerate(parameters["padding"]):
        places *= _meetings(
            image[numbers.lhs_spec[2 + axis]],
            kernel[numbers.rhs_spec[2 + axis]],
            result[numbers.out_spec[2 + axis]],
            stride=parameters["window_strides"][axis],
            low=low,
            spread=(parameters["lhs_dilation"][axis], parameters["rhs_dilation"][axis]),
        )
    batch, inputs = image[numbers.lhs_spec[0]], image[numbers.lhs_spec[1]]
    outputs = result[numbers.out_spec[1]]
    groups = parameters["feature_group_count"] * parameters["batch_group_count"]
    found: float = 2.0 * batch * inputs * outputs * places / groups
    return found


def _meetings(
    image: int, kernel: int, result: int, *, stride: int, low: int, spread: tuple[int, int]
) -> int:
    """Count the pairs of a result's place and a kernel's, along an axis, that meet a pixel.

    The kernel's places are `spread[1]` apart, the image's pixels `spread[0]`; the first result
    begins `low` before the image.
    """
    apart, step = spread
    end = (image - 1) * apart + 1
    count = 0
    for place in range(kernel):
        for out in range(result):
            where = out * stride - low + place * step
            count += 0 <= where < end and where % apart == 0
    return count


COUNTED: dict[str, Callable[[JaxprEqn], float]] = {
    "dot_general": _of_product,
    "conv_general_dilated": _of_convolution,
}
