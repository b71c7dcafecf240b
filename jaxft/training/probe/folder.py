"""The files of a probe: the measures of each body, the result, the best config."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_object, write_document

RESULT, PLOT, BEST, PARTS = "probe.json", "probe.png", "best.py", "bodies"


class Measured(NamedTuple):
    """`facts` (JSON data), the validation loss of every example in nats, and which are right."""

    facts: dict[str, Any]
    losses: np.ndarray
    right: np.ndarray


def result(folder: AnyPath) -> dict[str, Any] | None:
    """Return the result of a finished probe, None before."""
    return read_object(folder / RESULT)


def finish(folder: AnyPath, card: str, ours: Collection[str], found: Mapping[str, Any]) -> None:
    """Write the best config, and last of all the result, which marks the end.

    A config that is there is replaced if it is one of `ours`, nobody having changed it.
    """
    best = folder / BEST
    if not best.exists() or paths.read(best).decode(errors="replace") in ours:
        paths.write(best, lambda file: file.write(card.encode()))
    write_document(folder / RESULT, found)


def store(folder: AnyPath, number: int, found: Measured) -> None:
    """Keep the measures of the body of this number."""
    paths.make_folder(folder / PARTS)
    named = {**found._asdict(), "facts": json.dumps(found.facts)}
    paths.write(folder / PARTS / f"{number:03}.npz", lambda content: np.savez(content, **named))


def stored(folder: AnyPath, number: int) -> Measured | None:
    """Return the measures of the body of this number; None if they are missing or damaged."""
    try:
        file = folder / PARTS / f"{number:03}.npz"
        with file.open("rb") as content, np.load(content, allow_pickle=False) as part:
            facts, losses, right = (part[key] for key in Measured._fields)
        return Measured(json.loads(str(facts)), losses, right)
    except Exception:  # what a damaged file raises is anybody's guess
        return None
