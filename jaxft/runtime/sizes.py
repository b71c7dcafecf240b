"""Sizes in bytes, as people write and read them."""

import re

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def in_words(size: float) -> str:
    """Return a number of bytes in the unit that suits it, such as `1.2 GB`."""
    unit = next((name for name in reversed(UNITS) if size >= UNITS[name]), "B")
    return f"{size / UNITS[unit]:.3g} {unit}"


def parse(text: str) -> int:
    """Return the bytes that a text such as `10GB` or `500 MB` names; a plain number is of bytes.

    Raises:
      ValueError: it names none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip().upper())
    if found is None:
        raise ValueError(f"{text!r} is no size such as 500MB or 10GB")
    return int(float(found[1]) * UNITS[found[2] or "B"])
