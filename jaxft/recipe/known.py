"""Numbers of a program: known when it is made, or handed to it."""

from typing import Any


def is_off(number: Any) -> bool:
    """Tell whether a number is 0, and known to be when the program is made.

    A traced number may be 0 as well, but the program has to do what it asks for.
    """
    return isinstance(number, int | float) and number == 0
