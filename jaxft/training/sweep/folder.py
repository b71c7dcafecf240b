"""The files of a sweep: the scores of what is done, the result, the best config."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir.rows import read_object, write_document

RESULT, BEST, PARTS = "sweep.json", "best.py", "scores"


class Scores(NamedTuple):
    """Validation loss of every example in nats, and which are right, of points by number."""

    losses: Float[np.ndarray, "points seeds examples"]
    right: Bool[np.ndarray, "points seeds examples"]


def result(folder: AnyPath) -> dict[str, Any] | None:
    """Return the result of a finished sweep, None before."""
    return read_object(folder / RESULT)


def finish(folder: AnyPath, card: str, found: Mapping[str, Any]) -> None:
    """Write the best config, and last of all the result, which marks the end."""
    if not (folder / BEST).exists():
        paths.write(folder / BEST, lambda file: file.write(card.encode()))
    write_document(folder / RESULT, found)


def store(folder: AnyPath, numbers: Sequence[int], scores: Scores) -> None:
    """Keep the scores of the points of these numbers."""
    paths.make_folder(folder / PARTS)
    file = folder / PARTS / f"{numbers[0]:06}.npz"
    named = {"numbers": np.asarray(numbers), **scores._asdict()}
    paths.write(file, lambda content: np.savez(content, **named))


def done(folder: AnyPath, seeds: int, examples: int) -> dict[int, Scores]:
    """Return the scores that are kept, by the number of their point; damaged files are left out."""
    found: dict[int, Scores] = {}
    files = sorted((folder / PARTS).glob("*.npz")) if (folder / PARTS).exists() else []
    for file in files:
        try:
            with file.open("rb") as content, np.load(content, allow_pickle=False) as part:
                numbers, losses, right = (part[key] for key in ("numbers", *Scores._fields))
        except Exception:  # what a damaged file raises is anybody's guess
            continue
        if losses.shape == right.shape == (len(numbers), seeds, examples):
            found |= {
                int(n): Scores(*pair) for n, *pair in zip(numbers, losses, right, strict=True)
            }
    return found
