"""Numbers as the page writes them; a dash where there is none."""

import math
from typing import Any, TypeGuard

from jaxft.runtime.clock import clock

NONE = "–"  # noqa: RUF001 - an en dash


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def four(value: Any) -> str:
    """Write an accuracy, a probability or a loss."""
    return f"{value:.4f}" if is_number(value) else NONE


def rate(value: Any) -> str:
    """Write a learning rate."""
    return f"{value:.2e}" if is_number(value) else NONE


def share(value: Any) -> str:
    """Write a part of a whole in percent."""
    return f"{value:.0%}" if is_number(value) else NONE


def count(value: Any) -> str:
    """Write a number of things."""
    return f"{value:,.0f}" if is_number(value) else NONE


def duration(value: Any) -> str:
    """Write seconds as a clock shows them."""
    return clock(value) if is_number(value) else NONE


def short(value: float) -> str:
    """Write a tick of an axis."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.6g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
