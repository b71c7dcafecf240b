"""Prefixes of names: what the wrappers of a model put before all of its arrays' names.

`module.` is torch.nn.DataParallel's, `_orig_mod.` torch.compile's; a Lightning module has the name
of an attribute, such as `model.`.
"""

from collections.abc import Mapping, Set

import numpy as np

WRAPPERS_OWN = ("n_averaged",)  # torch.optim.swa_utils.AveragedModel counts so, beside the model


def unwrapped(arrays: Mapping[str, np.ndarray], own: Set[str]) -> dict[str, np.ndarray]:
    """Drop prefixes, in any order, while all names have the same one.

    Args:
      arrays: by name.
      own: names of the model's own modules, which are no prefixes; nor are numbers.
    """
    inner = {name: array for name, array in arrays.items() if name not in WRAPPERS_OWN}
    while prefix := _common(inner.keys(), own):
        inner = {name.removeprefix(prefix): array for name, array in inner.items()}
    return inner


def _common(names: Set[str], own: Set[str]) -> str:
    """Return the first part of all names, up to the dot; "" where they differ in it."""
    first = {name.partition(".")[0] if "." in name else "" for name in names}
    if len(first) != 1 or first & own or (found := first.pop()).isdecimal():
        return ""
    return f"{found}." if found else ""


def behind_prefix(names: Set[str], wanted: Set[str]) -> str:
    """Return the prefix behind which all wanted names are found among others, or ""."""
    known = next(iter(wanted))
    for name in names:
        prefix = name.removesuffix(known)
        if name.endswith(f".{known}") and all(prefix + other in names for other in wanted):
            return prefix
    return ""
