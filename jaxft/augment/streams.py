"""Streams of random numbers: one for each kind of variation."""

from enum import IntEnum, unique


@unique
class Stream(IntEnum):
    """Number to fold an example's key with, so that each kind of variation draws its own."""

    PERSPECTIVE = 1
    CROP = 2
    LIGHT = 3
    ERASE = 4
    MIX = 5
    POLICY = 6
