"""The table that a competition asks for: an id of each image, and its class or probabilities."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxft.errors import UserError

EVERY = "*"


class Columns(NamedTuple):
    """Columns of a submission.

    Attributes:
      head: their names, the id's first.
      chosen: the classes whose probabilities follow the id; None: the predicted class follows.
    """

    head: list[str]
    chosen: list[int] | None


def columns_of(text: str, classes: Sequence[str]) -> Columns:
    """Read `--columns`.

    Args:
      text: `id,label` for the class; `id,*` for every probability, under its class's name;
        `id,cat,dog` for those of some classes; `id,target=cat` for one under another name.
      classes: of the run.

    Raises:
      UserError: there are fewer than two; listing those that are no classes.
    """
    first, *others = (part.strip() for part in text.split(","))
    if not first or not all(others) or not others:
        forms = "id,label or id,* or id,CLASS,..."
        raise UserError(f"--columns={text} should be an id and what follows it: {forms}")
    if others == [EVERY]:
        return Columns([first, *classes], list(range(len(classes))))
    if len(others) == 1 and "=" not in others[0]:
        return Columns([first, *others], None)
    pairs = [_named(other, classes) for other in others]
    if unknown := [name for _, name in pairs if name not in classes]:
        known = f"The run's are: {', '.join(classes)}."
        raise UserError(f"--columns={text} names what is no class:", unknown, known)
    return Columns([first, *(title for title, _ in pairs)], [classes.index(n) for _, n in pairs])


def _named(column: str, classes: Sequence[str]) -> tuple[str, str]:
    """A column's title and its class."""
    title, equals, name = column.partition("=")
    return (title, name) if equals and column not in classes else (column, column)


def ids_of(files: Sequence[str], kind: str) -> list[str]:
    """Return the id of each file: its `name` without the folder, the `stem` of it, or its `path`.

    Raises:
      UserError: listing those that several files share.
    """
    ids = [file if kind == "path" else getattr(PurePosixPath(file), kind) for file in files]
    if twice := [f"{one} ({count} files)" for one, count in Counter(ids).items() if count > 1]:
        raise UserError(f"--id={kind} does not tell these files apart:", twice, "Try --id=path.")
    return ids


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts as people do: 2.jpg before 10.jpg, both before a.jpg."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", text)
    return [(int(number), "") if number else (sys.maxsize, word) for number, word in parts]


def rows_of(
    ids: Sequence[str],
    columns: Columns,
    classes: Sequence[str],
    probabilities: Float[np.ndarray, "files classes"],
) -> list[list[str]]:
    """Return a row for each id, in natural order."""
    order = sorted(range(len(ids)), key=lambda index: natural(ids[index]))
    if columns.chosen is None:
        return [[ids[index], classes[probabilities[index].argmax()]] for index in order]
    return [
        [ids[index], *(f"{number:.6f}" for number in probabilities[index, columns.chosen])]
        for index in order
    ]
