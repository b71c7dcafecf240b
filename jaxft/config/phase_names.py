"""Names of phases, and the places of their keys on a command line."""

import re
from collections.abc import Sequence
from typing import Any

NAME = r"[\w-]+"


def path_of(path: str, names: Sequence[Any], index: int) -> str:
    """Return the place of one of several sections, as the command line takes it: `phases.full`.

    Where its name is not fit for that, or another has it, it is `phases[2]`.
    """
    name = names[index]
    fit = isinstance(name, str) and re.fullmatch(NAME, name) and names.count(name) == 1
    return f"{path}.{name}" if fit else f"{path}[{index}]"
