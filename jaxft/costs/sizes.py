"""Sizes of a run's data set."""

from typing import NamedTuple


class Sizes(NamedTuple):
    """Numbers of examples and classes, and their `source` in words."""

    train: int
    valid: int
    classes: int
    source: str
