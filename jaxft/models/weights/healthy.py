"""Weights that a run begins with: all of their numbers are finite."""

from collections.abc import Mapping

import numpy as np

from jaxft.errors import UserError


def demand_finite(place: object, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights with numbers that are infinite or none.

    Args:
      place: where they lie.
      arrays: tensors by name.

    Raises:
      UserError: lists every tensor that has some, and their number.
    """
    sick = {name: int((~np.isfinite(array)).sum()) for name, array in arrays.items()}
    offenders = [
        f"{name}: {count:,} of {arrays[name].size:,} numbers"
        for name, count in sick.items()
        if count
    ]
    if offenders:
        hint = "Whatever wrote them had diverged; take weights from before."
        raise UserError(f"The weights in {place} are not finite:", offenders, hint)
