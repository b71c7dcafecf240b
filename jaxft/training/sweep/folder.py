"""The files of a sweep: its request, the scores of what is done, the result, the best config."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxft.errors import UserError
from jaxft.runtime import paths
from jaxft.runtime.paths import AnyPath
from jaxft.workdir import same_config
from jaxft.workdir.rows import write_json

REQUEST, RESULT, BEST, PARTS = "request.json", "sweep.json", "best.py", "scores"
ALLOWED = (".lock", ".lease.json")  # of a folder that is empty but for them


class Scores(NamedTuple):
    """Validation loss of every example in nats, and which are right, of points by number."""

    losses: Float[np.ndarray, "points seeds examples"]
    right: Bool[np.ndarray, "points seeds examples"]


def check(folder: AnyPath, request: Mapping[str, Any], kind: str = "sweep") -> None:
    """Raise UserError unless the folder is new, empty, or holds a sweep of the same settings.

    `kind` names what is in such a folder. `request` may lack sections of the one that is there;
    those are not compared.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --workdir should be a directory")
    names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    others = [name for name in names if name not in ALLOWED]
    if not others:
        return
    if REQUEST not in others:
        raise UserError(
            f"{folder} holds something else than a {kind}:",
            others,
            "Choose another --workdir; nothing in this one was changed.",
        )
    saved = same_config.read_json(folder / REQUEST)
    saved["config"] = same_config.with_free_keys(saved.get("config"))
    found = {
        section: same_config.differences(saved.get(section), request[section])
        for section in request
    }
    found["config"] = {
        key: line for key, line in found["config"].items() if key not in same_config.FREE_KEYS
    }
    lines = [f"{section}.{line}" for section in found for line in found[section].values()]
    if lines:
        raise UserError(
            f"{folder} holds a {kind} of other settings:",
            lines,
            "Choose another --workdir, or give the same settings to go on with that one.",
        )


def begin(folder: AnyPath, request: Mapping[str, Any]) -> None:
    """Write down what the sweep is of, unless that is there."""
    if not (folder / REQUEST).exists():
        write_json(folder / REQUEST, request)


def result(folder: AnyPath) -> dict[str, Any] | None:
    """Return the result of a finished sweep, None before."""
    try:
        found: dict[str, Any] = json.loads(paths.read(folder / RESULT))
    except (OSError, ValueError):
        return None
    return found


def finish(folder: AnyPath, card: str, found: Mapping[str, Any]) -> None:
    """Write the best config, and last of all the result, which marks the end."""
    if not (folder / BEST).exists():
        paths.write(folder / BEST, lambda file: file.write(card.encode()))
    write_json(folder / RESULT, found)


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
